#include "serve/server.h"

#include <chrono>
#include <utility>

#include "base/error.h"
#include "serve/chat_writer.h"
#include "serve/compare_page.h"

namespace steelyard::serve {
namespace {

constexpr std::chrono::milliseconds kLook{
    100};  // how often a waiting connection looks whether its client is still there
constexpr const char* kJson = "application/json";

int64_t now() {
  const auto time = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(time).count();
}

void answer(httplib::Response& response, const json::Json& body, int status = 200) {
  response.status = status;
  response.set_content(json::json_text(body), kJson);
}

// Without its body having been read: the connection cannot go on.
void answer(httplib::Response& response, const Refusal& refusal) {
  if (refusal.status == 429 || refusal.status == 503) response.set_header("Retry-After", "1");
  if (refusal.status == 401) response.set_header("WWW-Authenticate", "Basic realm=\"steelyard\"");  // for the page
  answer(response, refusal.body(), refusal.status);
}

void close_connection(httplib::Response& response) {
  response.set_header("Connection", "close");
  if (Connection* const connection = Connection::current()) connection->close_after();
}

bool client_has_hung_up() { return Connection::current() != nullptr && Connection::current()->hung_up(); }

[[noreturn]] void throw_failure(const std::string& message) { throw Refusal(500, "server_error", message); }

// Takes events until every text has ended. False when the client has hung up.
bool take_all(Channel& channel, int64_t n_texts, AnswerWriter& writer) {
  while (n_texts > 0) {
    const std::optional<Event> event = channel.next(kLook);
    // Nothing is written until the end, so that only this shows it, however fast events come.
    if (client_has_hung_up()) {
      channel.cancel();
      return false;
    }
    if (!event) continue;
    if (!event->error.empty()) {
      channel.cancel();
      throw_failure(event->error);
    }
    writer.take(*event);
    n_texts -= event->is_last();
  }
  return true;
}

// The stream of one request; called again and again until it is done.
class Stream {
 public:
  Stream(std::shared_ptr<Channel> channel, int64_t n_texts, std::shared_ptr<AnswerWriter> writer, bool include_usage)
      : channel_(std::move(channel)), n_texts_(n_texts), writer_(std::move(writer)), include_usage_(include_usage) {}

  // False ends the connection.
  bool go_on(httplib::DataSink& sink) {
    const std::optional<Event> event = channel_->next(kLook);
    if (!event) return !client_has_hung_up();
    std::string text;
    if (!event->error.empty()) {
      text = sse(Refusal(500, "server_error", event->error).body());
      n_texts_ = 0;
      channel_->cancel();
    } else {
      for (const json::Json& chunk : writer_->take(*event)) text += sse(chunk);
      n_texts_ -= event->is_last();
      if (n_texts_ == 0 && include_usage_) text += sse(writer_->usage_chunk());
      if (n_texts_ == 0) text += kSseEnd;
    }
    if (!text.empty() && !sink.write(text.data(), text.size())) return false;
    if (n_texts_ == 0) sink.done();
    return true;
  }
  void end() { channel_->cancel(); }

 private:
  std::shared_ptr<Channel> channel_;
  int64_t n_texts_;
  std::shared_ptr<AnswerWriter> writer_;
  bool include_usage_;
};

}  // namespace

Server::Server(Engine& engine, const tokenizer::Tokenizer& tokenizer, ServerOptions options)
    : engine_(engine),
      tokenizer_(tokenizer),
      options_(std::move(options)),
      started_(now()),
      gate_(options_.api_key, options_.limits.body_bytes),
      http_(options_.limits, options_.most_connections) {
  set_up_routes();
  const bool any = options_.port == 0;
  port_ = any ? http_.bind_to_any_port(options_.host) : options_.port;
  if (port_ < 0 || (!any && !http_.bind_to_port(options_.host, options_.port)))
    fail("", "cannot listen on {} port {}", printable(options_.host), options_.port);
  thread_ = std::jthread([this] { http_.listen_after_bind(); });
  while (!http_.is_running()) std::this_thread::yield();
}

Server::~Server() { drain(); }

void Server::drain() {
  if (!thread_.joinable()) return;
  http_.drain();
  thread_.join();
}

void Server::set_up_routes() {
  http_.set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
    try {
      gate_.check(request);
    } catch (const Refusal& refusal) {
      answer(response, refusal);
      close_connection(response);
      return httplib::Server::HandlerResponse::Handled;
    }
    return httplib::Server::HandlerResponse::Unhandled;
  });
  http_.set_exception_handler([](const httplib::Request&, httplib::Response& response, std::exception_ptr) {
    answer(response, Refusal(500, "server_error", "the server has failed"));
    close_connection(response);
  });
  http_.set_logger([this](const httplib::Request& request, const httplib::Response& response) {
    metrics_.count(gate_.knows(request.path) ? request.path : "other", response.status);
  });
  get(
      "/health",
      [](httplib::Response& response) {
        answer(response, {{"status", "ok"}});
      },
      /*open=*/true);
  get("/v1/models", [this](httplib::Response& response) { answer(response, models()); });
  get("/metrics", [this](httplib::Response& response) {
    response.set_content(metrics_.text(engine_.figures(), engine_.options().n_slots), "text/plain; version=0.0.4");
  });
  post("/v1/completions", &Server::complete);
  post("/v1/chat/completions", &Server::chat);
  post("/tokenize", &Server::tokenize);
  if (options_.comparison == nullptr) return;
  post("/compare", &Server::compare);
  get("/", [](httplib::Response& response) {
    response.set_header(
        "Content-Security-Policy",
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'");
    response.set_content(kComparePage.data(), kComparePage.size(), "text/html; charset=utf-8");
  });
}

void Server::get(const std::string& path, const std::function<void(httplib::Response&)>& handler, bool open) {
  gate_.add("GET", path, open);
  http_.Get(path, [handler](const httplib::Request& request, httplib::Response& response) {
    handler(response);
    if (request.has_header("Content-Length") || request.has_header("Transfer-Encoding")) close_connection(response);
  });
}

void Server::post(const std::string& path, Handle handle) {
  gate_.add("POST", path);
  http_.Post(path,
             [this, handle](const httplib::Request&, httplib::Response& response, const httplib::ContentReader& read) {
               try {
                 (this->*handle)(read_body(read), response);
               } catch (const Refusal& refusal) {
                 answer(response, refusal);
               } catch (const Error& error) {  // of a template, a prompt: what the client gave
                 answer(response, Refusal(400, "invalid_request_error", error.what()));
               }
             });
}

json::Json Server::read_body(const httplib::ContentReader& read) const {
  constexpr int64_t kMostLevels = 64;
  std::string body;
  bool too_large = false;
  const bool complete = read([&](const char* data, size_t n) {
    too_large = std::ssize(body) + static_cast<int64_t>(n) > options_.limits.body_bytes;
    if (!too_large) body.append(data, n);
    return !too_large;
  });
  if (!complete && Connection::current() != nullptr) Connection::current()->close_after();
  if (too_large) throw Refusal(413, "invalid_request_error", "the body is too large");
  if (!complete) refuse("", "the body is not complete");
  json::Json json = json::parse_json(body, kMostLevels);
  if (json.is_discarded()) refuse("", "the body is not JSON, or nested too deeply");
  return json;
}

json::Json Server::models() const {
  const json::Json model{{"id", options_.model},
                         {"object", "model"},
                         {"created", started_},
                         {"owned_by", "steelyard"},
                         {"meta", {{"n_ctx", engine_.options().n_context}, {"n_vocab", tokenizer_.n_tokens()}}}};
  return {{"object", "list"}, {"data", json::Json::array({model})}};
}

void Server::tokenize(const json::Json& body, httplib::Response& response) {
  const TokenizeRequest request = read_tokenize(body);
  json::Json tokens = json::Json::array();
  for (const tokenizer::TokenId id : tokenizer_.encode(request.content, request.add_special, request.parse_special)) {
    if (request.with_pieces)
      tokens.push_back({{"id", id}, {"piece", tokenizer_.decode(std::span(&id, 1), /*special=*/true)}});
    else
      tokens.push_back(id);
  }
  answer(response, {{"tokens", std::move(tokens)}});
}

void Server::complete(const json::Json& body, httplib::Response& response) {
  CompletionRequest request = read_completion(body, tokenizer_, options_.sampling);
  const bool scores = request.shared.n_top.has_value();
  auto writer = std::make_shared<CompletionWriter>(
      make_head("cmpl-", options_.model), tokenizer_,
      CompletionWriter::Options{request.prompts, request.shared.n, request.echo, scores});
  // Without an answer the engine has only the prompt's scores to give, wanted or not.
  const bool score_prompt = request.echo && (scores || request.shared.max_tokens == 0);
  start(request.shared, std::move(request.prompts), score_prompt, /*piece=*/{}, std::move(writer), response);
}

chat::Rendered Server::render(ChatRequest request) const {
  if (options_.chat == nullptr)
    throw Refusal(501, "server_error", "the model has no chat template: serve --chat-template FILE gives one");
  try {
    return options_.chat->render_request(
        chat::template_input(std::move(request.messages), std::move(request.tools), request.template_kwargs));
  } catch (const chat::TemplateError& error) {  // the template does not take these messages
    refuse("messages", "{}", error.what());
  } catch (const Error& error) {
    throw Refusal(500, "server_error", error.what());
  }
}

void Server::chat(const json::Json& body, httplib::Response& response) {
  ChatRequest request = read_chat(body, options_.sampling);
  const chat::Rendered rendered = render(request);
  const chat::AnswerFormat& format = chat::AnswerFormat::of(options_.chat->source().text);
  const std::vector<tokenizer::TokenId> prompt = chat::tokenize(tokenizer_, rendered);
  auto writer = std::make_shared<ChatWriter>(make_head("chatcmpl-", options_.model), tokenizer_,
                                             ChatWriter::Options{.n = request.shared.n,
                                                                 .scores = request.shared.n_top.has_value(),
                                                                 .format = &format,
                                                                 .tools = request.tools,
                                                                 .prompt = rendered.text});
  const auto piece = [this, &format](tokenizer::TokenId id) { return chat::piece_of(tokenizer_, format, id); };
  start(request.shared, {prompt}, /*score_prompt=*/false, piece, std::move(writer), response);
}

void Server::compare(const json::Json& body, httplib::Response& response) {
  constexpr int64_t kMostTokens = 256;
  const Fields fields(body);
  const int64_t n = fields.integer("max_tokens", 1, kMostTokens).value_or(64);
  std::vector<tokenizer::TokenId> prompt;
  if (fields.find("messages") != nullptr)
    prompt = chat::tokenize(tokenizer_, render(read_chat(body, options_.sampling)));
  else if (const std::optional<std::string> text = fields.text("prompt"))
    prompt = encode_prompt(tokenizer_, *text);
  const int64_t n_context = options_.comparison->n_context();
  if (prompt.empty()) refuse("prompt", "the prompt is empty");
  if (std::ssize(prompt) + n > n_context)
    refuse("prompt", "a prompt of {} tokens and {} more exceed the context of {}", prompt.size(), n, n_context);
  answer(response,
         comparison_json(options_.comparison->compare(prompt, n), tokenizer_, {options_.model, options_.base}));
}

void Server::check_prompt(std::span<const tokenizer::TokenId> prompt) const {
  if (prompt.empty()) refuse("prompt", "the prompt is empty");
  const int64_t n_context = engine_.options().n_context;
  if (std::ssize(prompt) < n_context) return;
  throw Refusal(400, "invalid_request_error",
                fmt::format("a prompt of {} tokens fills the context of {}", prompt.size(), n_context), "prompt",
                "context_length_exceeded");
}

void Server::start(const SharedFields& shared, std::vector<std::vector<tokenizer::TokenId>> prompts, bool score_prompt,
                   const Piece& piece, std::shared_ptr<AnswerWriter> writer, httplib::Response& response) {
  const auto channel = std::make_shared<Channel>();
  const int64_t n_texts = std::ssize(prompts) * shared.n;
  if (n_texts > engine_.options().most_waiting)
    refuse("n", "{} answers at once: expected up to {}", n_texts, engine_.options().most_waiting);
  std::vector<TextRequest> texts;
  for (const auto& prompt : prompts) {
    check_prompt(prompt);
    for (int64_t i = 0; i < shared.n; ++i) {
      TextRequest text{.prompt = prompt,
                       .max_tokens = shared.max_tokens.value_or(engine_.options().n_context),
                       .sampling = shared.sampling,
                       .stops = shared.stops,
                       .n_top = shared.n_top,
                       .score_prompt = score_prompt,
                       .piece = piece,
                       .index = std::ssize(texts),
                       .channel = channel};
      text.sampling.seed += static_cast<uint64_t>(i);
      texts.push_back(std::move(text));
    }
  }
  if (!engine_.submit(std::move(texts)))
    throw Refusal(429, "rate_limit_error", "too many requests are waiting", "", "queue_full");
  if (!shared.stream) {
    if (take_all(*channel, n_texts, *writer)) return answer(response, writer->whole());
    response.status = 499;  // nobody reads it
    return close_connection(response);
  }
  const auto stream = std::make_shared<Stream>(channel, n_texts, std::move(writer), shared.include_usage);
  response.set_header("Cache-Control", "no-cache");
  response.set_chunked_content_provider(
      "text/event-stream", [stream](size_t, httplib::DataSink& sink) { return stream->go_on(sink); },
      [stream](bool) { stream->end(); });
}

}  // namespace steelyard::serve
