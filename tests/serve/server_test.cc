// The server over real connections: endpoints and their shapes, streams, what is refused, clients that hang up or are
// slow, and the end.
#include "serve/server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "served.h"

namespace steelyard::serve {
namespace {

using json::Json;
using testing::HasSubstr;
using testing::StartsWith;
using Ids = test::Served::Ids;

class ServerTest : public testing::Test {
 protected:
  void start(ServerOptions options = {}, EngineOptions engine = {.n_slots = 4, .n_context = 512}) {
    served_ = std::make_unique<test::Served>(test::bundled_model(), engine);
    options.port = 0;
    options.model = "tiny";
    options.sampling.temperature = 0;
    const std::string chatml =
        "{% for m in messages %}<|user|>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{{ start }}{% endif %}";
    chat_ = std::make_unique<chat::Template>(chat::TemplateSource{"a template", chatml, ""}, &served_->tokenizer);
    options.chat = chat_.get();
    server_ = std::make_unique<Server>(*served_->engine, served_->tokenizer, options);
  }

  httplib::Client client() const {
    httplib::Client client("127.0.0.1", server_->port());
    client.set_read_timeout(60);
    return client;
  }
  Json post(const std::string& path, const Json& body, int status = 200) const {
    return post(path, body.dump(), status);
  }
  Json post(const std::string& path, const std::string& body, int status = 200) const {
    const auto result = client().Post(path, body, "application/json");
    if (!result) {
      ADD_FAILURE() << "no answer: " << httplib::to_string(result.error());
      return {};
    }
    EXPECT_EQ(result->status, status) << result->body;
    return Json::parse(result->body);
  }
  // The chunks of a stream.
  std::vector<Json> stream(const std::string& path, Json body) const {
    body["stream"] = true;
    const auto result = client().Post(path, body.dump(), "application/json");
    EXPECT_TRUE(result);
    EXPECT_EQ(result->status, 200) << result->body;
    EXPECT_THAT(result->get_header_value("Content-Type"), StartsWith("text/event-stream"));
    std::vector<Json> chunks;
    std::string rest = result->body;
    while (rest.starts_with("data: {")) {
      const size_t end = rest.find("\n\n");
      chunks.push_back(Json::parse(rest.substr(6, end - 6)));
      rest.erase(0, end + 2);
    }
    EXPECT_EQ(rest, kSseEnd);
    return chunks;
  }

  // A connection that sends what it likes.
  int connect() const {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(server_->port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    return fd;
  }
  static void send(int fd, std::string_view text) {
    EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), std::ssize(text));
  }
  static std::string read_all(int fd) {
    std::string all;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::recv(fd, buffer, sizeof(buffer), 0)) > 0;) all.append(buffer, static_cast<size_t>(n));
    ::close(fd);
    return all;
  }

  std::unique_ptr<test::Served> served_;
  std::unique_ptr<chat::Template> chat_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, CompletionsAreThoseOfRun) {
  start();
  const std::string expected = served_->run_text(encode_prompt(served_->tokenizer, "The king"), 12);
  const Json answer = post("/v1/completions", {{"prompt", "The king"}, {"max_tokens", 12}});
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["model"], "tiny");
  EXPECT_EQ(answer["choices"][0]["text"], expected);
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(answer["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(answer["usage"]["completion_tokens"], 12);

  std::string text;
  const std::vector<Json> chunks = stream(
      "/v1/completions", {{"prompt", "The king"}, {"max_tokens", 12}, {"stream_options", {{"include_usage", true}}}});
  for (const Json& chunk : chunks) {
    if (!chunk["choices"].empty()) text += chunk["choices"][0]["text"].get<std::string>();
  }
  EXPECT_EQ(text, expected);
  EXPECT_TRUE(chunks.back()["choices"].empty());
  EXPECT_EQ(chunks.back()["usage"]["completion_tokens"], 12);
  EXPECT_EQ(chunks[chunks.size() - 2]["choices"][0]["finish_reason"], "length");
}

TEST_F(ServerTest, EchoWithScoresAsHarnessesWantIt) {
  start();
  const Ids ids = encode_prompt(served_->tokenizer, "The king of the");
  const Json answer =
      post("/v1/completions", {{"prompt", ids}, {"max_tokens", 1}, {"logprobs", 2}, {"echo", true}})["choices"][0];
  const Json& scores = answer["logprobs"];
  ASSERT_EQ(scores["tokens"].size(), ids.size() + 1);
  EXPECT_TRUE(scores["token_logprobs"][0].is_null());
  std::string text;
  for (size_t i = 0; i < scores["tokens"].size(); ++i) {
    EXPECT_EQ(scores["text_offset"][i], text.size());
    text += scores["tokens"][i].get<std::string>();
    if (i == 0) continue;
    EXPECT_LT(scores["token_logprobs"][i].get<double>(), 0);
    EXPECT_TRUE(scores["top_logprobs"][i].contains(scores["tokens"][i].get<std::string>()));
  }
  EXPECT_EQ(answer["text"], text);
  const Json only = post("/v1/completions", {{"prompt", ids}, {"max_tokens", 0}, {"logprobs", 0}, {"echo", true}});
  EXPECT_EQ(only["choices"][0]["logprobs"]["tokens"].size(), ids.size());
}

bool has_jinja() { return std::system("python3 -c 'import jinja2' 2>/dev/null") == 0; }

TEST_F(ServerTest, Chats) {
  if (!has_jinja()) GTEST_SKIP() << "no Jinja2: apt-get install python3-jinja2";
  start();
  const Json messages = {{{"role", "user"}, {"content", "Who is the king?"}}};
  const std::string expected =
      served_->run_text(served_->tokenizer.encode("<|user|>Who is the king?\n<|assistant|>", false, true), 12);
  const Json body = {{"messages", messages}, {"max_completion_tokens", 12}, {"logprobs", true}, {"top_logprobs", 2}};
  const Json answer = post("/v1/chat/completions", body);
  EXPECT_EQ(answer["object"], "chat.completion");
  const Json& choice = answer["choices"][0];
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], expected);
  EXPECT_EQ(choice["logprobs"]["content"].size(), answer["usage"]["completion_tokens"].get<size_t>());
  EXPECT_EQ(choice["logprobs"]["content"][0]["top_logprobs"].size(), 2);
  std::string text;
  const std::vector<Json> chunks = stream("/v1/chat/completions", body);
  EXPECT_EQ(chunks[0]["choices"][0]["delta"]["role"], "assistant");
  for (const Json& chunk : chunks) text += chunk["choices"][0]["delta"].value("content", "");
  EXPECT_EQ(text, expected);

  post("/v1/chat/completions", {{"messages", Json::array()}}, 400);
  post("/v1/chat/completions", {{"messages", {{{"content", "A"}}}}}, 400);
  post("/v1/chat/completions", {{"messages", messages}, {"tools", 1}}, 400);
  post("/v1/chat/completions", {{"messages", messages}, {"top_logprobs", 2}}, 400);
  post("/v1/chat/completions", {{"messages", messages}, {"chat_template_kwargs", "x"}}, 400);
}

TEST_F(ServerTest, PromptsAndChoices) {
  start();
  const Json answer = post("/v1/completions", {{"prompt", {"The king", "A"}}, {"n", 2}, {"max_tokens", 3}});
  ASSERT_EQ(answer["choices"].size(), 4);
  EXPECT_EQ(answer["choices"][0]["text"], answer["choices"][1]["text"]);
  EXPECT_NE(answer["choices"][0]["text"], answer["choices"][2]["text"]);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 12);
  // A seed gives the same again, and each choice one of its own.
  const Json drawn = {{"prompt", "The king"}, {"n", 2}, {"max_tokens", 8}, {"temperature", 1.5}, {"seed", 7}};
  const Json first = post("/v1/completions", drawn), second = post("/v1/completions", drawn);
  EXPECT_EQ(first["choices"], second["choices"]);
  EXPECT_NE(first["choices"][0]["text"], first["choices"][1]["text"]);
}

TEST_F(ServerTest, OtherEndpoints) {
  start();
  EXPECT_EQ(Json::parse(client().Get("/health")->body)["status"], "ok");
  EXPECT_EQ(Json::parse(client().Get("/v1/models")->body)["data"][0]["id"], "tiny");
  const Json tokens = post("/tokenize", {{"content", "The king"}})["tokens"];
  EXPECT_EQ(tokens.get<Ids>(), served_->tokenizer.encode("The king", false, true));
  EXPECT_EQ(
      post("/tokenize", {{"content", "The"}, {"with_pieces", true}})["tokens"][0]["piece"].get<std::string>().substr(0,
                                                                                                                     1),
      "T");
  post("/v1/completions", {{"prompt", "A"}, {"max_tokens", 3}});
  const std::string metrics = client().Get("/metrics")->body;
  EXPECT_THAT(metrics, HasSubstr("steelyard_generated_tokens_total 3\n"));
  EXPECT_THAT(metrics, HasSubstr("steelyard_responses_total{path=\"/v1/completions\",status=\"200\"} 1\n"));
}

TEST_F(ServerTest, RefusesWhatIsWrong) {
  start();
  const auto message = [&](const Json& body, int status = 400) {
    const Json answer = post("/v1/completions", body, status);
    EXPECT_TRUE(answer["error"]["type"].is_string());
    return answer["error"]["message"].get<std::string>();
  };
  EXPECT_THAT(message({{"max_tokens", 1}}), StartsWith("prompt: "));
  EXPECT_THAT(message({{"prompt", "A"}, {"max_tokens", -1}}), StartsWith("max_tokens: "));
  EXPECT_THAT(message({{"prompt", "A"}, {"max_tokens", 1e300}}), StartsWith("max_tokens: "));
  EXPECT_THAT(message({{"prompt", "A"}, {"max_tokens", "12"}}), StartsWith("max_tokens: "));
  EXPECT_THAT(message({{"prompt", "A"}, {"temperature", "hot"}}), StartsWith("temperature: "));
  EXPECT_THAT(message({{"prompt", "A"}, {"top_p", 1.5}}), StartsWith("top_p: "));
  EXPECT_THAT(message({{"prompt", "A"}, {"n", 1000}}), StartsWith("n: "));
  EXPECT_THAT(message({{"prompt", "A"}, {"stop", {"a", 1}}}), StartsWith("stop: "));
  EXPECT_THAT(message({{"prompt", "A"}, {"stream_options", 1}}), StartsWith("stream_options: "));
  EXPECT_THAT(message({{"prompt", {1, 2, 1000000}}}), StartsWith("prompt: "));
  EXPECT_THAT(message({{"prompt", {{1}, "A", 3}}}), StartsWith("prompt: "));
  EXPECT_THAT(message({{"prompt", std::string(5000, 'x')}}), HasSubstr("fills the context of 512"));
  EXPECT_THAT(message(Json::array()), StartsWith("the body: "));
  for (const char* body : {"", "{", "{\"prompt\": \"\xff\xfe\"}", "[[[[", "{\"prompt\": 1e999}"})
    EXPECT_THAT(post("/v1/completions", std::string(body), 400)["error"]["message"].get<std::string>(),
                HasSubstr("JSON"));
  post("/v1/completions", std::string(200, '['), 400);
  post("/v1/nothing", Json::object(), 404);
  EXPECT_EQ(client().Get("/v1/completions")->status, 405);
  EXPECT_EQ(client()
                .Post("/v1/completions", httplib::Headers{{"Origin", "http://elsewhere"}}, "{}", "application/json")
                ->status,
            403);
  EXPECT_EQ(client()
                .Post("/v1/completions", httplib::Headers{{"Content-Encoding", "gzip"}}, "{}", "application/json")
                ->status,
            415);
}

TEST_F(ServerTest, OnlyHealthIsThereWithoutTheKey) {
  ServerOptions options;
  options.api_key = "secret";
  start(options);
  for (const char* path : {"/v1/models", "/metrics", "/v1/nothing"}) EXPECT_EQ(client().Get(path)->status, 401) << path;
  for (const char* path : {"/v1/completions", "/tokenize"}) post(path, Json{{"prompt", "A"}}, 401);
  EXPECT_EQ(client().Get("/health")->status, 200);
  for (const char* said :
       {"Bearer wrong", "Bearer secre", "Bearer secret2", "Bearer", "secret", "Basic secret", "Basic dXNlcg=="})
    EXPECT_EQ(client().Get("/v1/models", httplib::Headers{{"Authorization", said}})->status, 401) << said;
  for (const char* said : {"Bearer secret", "bearer secret", "Basic dXNlcjpzZWNyZXQ="})
    EXPECT_EQ(client().Get("/v1/models", httplib::Headers{{"Authorization", said}})->status, 200) << said;
}

TEST_F(ServerTest, LimitsOfConnections) {
  ServerOptions options;
  options.limits = {.head_time = std::chrono::milliseconds(300),
                    .body_time = std::chrono::milliseconds(300),
                    .idle_time = std::chrono::milliseconds(300),
                    .head_bytes = 4096,
                    .body_bytes = 10'000};
  start(options);
  // Slow senders of head and body; heads and bodies without end, with a length or without.
  int fd = connect();
  for (int i = 0; i < 10; ++i) {
    if (::send(fd, "P", 1, MSG_NOSIGNAL) != 1) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
  }
  EXPECT_THAT(read_all(fd), StartsWith("HTTP/1.1 408"));
  fd = connect();
  send(fd, "POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{");
  EXPECT_THAT(read_all(fd), StartsWith("HTTP/1.1 4"));
  fd = connect();
  send(fd, "GET /health HTTP/1.1\r\nX: " + std::string(8000, 'x'));
  EXPECT_THAT(read_all(fd), StartsWith("HTTP/1.1 431"));
  EXPECT_EQ(post("/tokenize", Json{{"content", std::string(20'000, 'x')}}, 413)["error"]["type"],
            "invalid_request_error");
  fd = connect();
  send(fd, "POST /tokenize HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 30; ++i) {
    const std::string chunk = "400\r\n" + std::string(1024, 'x') + "\r\n";
    if (::send(fd, chunk.data(), chunk.size(), MSG_NOSIGNAL) < 0) break;
  }
  EXPECT_THAT(read_all(fd), StartsWith("HTTP/1.1 413"));
  fd = connect();
  EXPECT_EQ(read_all(fd), "");  // says nothing
  EXPECT_EQ(client().Get("/health")->status, 200);
}

TEST_F(ServerTest, AClientThatHangsUpFreesItsSlot) {
  start({}, {.n_slots = 1, .n_context = 4096, .most_waiting = 1});
  const Json endless = {{"prompt", "A"}, {"max_tokens", 4000}, {"temperature", 1.5}, {"seed", 3}, {"stream", true}};
  for (const bool streams : {true, false}) {
    Json body = endless;
    body["stream"] = streams;
    const std::string text = body.dump();
    const int fd = connect();
    send(fd,
         fmt::format("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{}", text.size(), text));
    while (served_->engine->figures().running == 0) std::this_thread::yield();
    ::close(fd);
    EXPECT_EQ(post("/v1/completions", {{"prompt", "A"}, {"max_tokens", 2}})["usage"]["completion_tokens"], 2);
  }
  EXPECT_EQ(served_->engine->figures().cancelled, 2);
}

TEST_F(ServerTest, FullQueue) {
  start({}, {.n_slots = 1, .n_context = 4096, .most_waiting = 1});
  const std::string text =
      Json{{"prompt", "A"}, {"max_tokens", 4000}, {"temperature", 1.5}, {"seed", 3}, {"stream", true}}.dump();
  const std::string request =
      fmt::format("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{}", text.size(), text);
  const int first = connect(), second = connect();
  send(first, request);
  while (served_->engine->figures().running == 0) std::this_thread::yield();
  send(second, request);
  while (served_->engine->figures().waiting == 0) std::this_thread::yield();
  const auto refused = client().Post("/v1/completions", Json{{"prompt", "A"}}.dump(), "application/json");
  EXPECT_EQ(refused->status, 429);
  EXPECT_EQ(refused->get_header_value("Retry-After"), "1");
  ::close(first);
  ::close(second);
}

TEST_F(ServerTest, DrainingFinishesWhatRuns) {
  start();
  Json answer;
  std::vector<Json> chunks;
  std::thread waits([&] { answer = post("/v1/completions", {{"prompt", "The king"}, {"max_tokens", 200}}); });
  std::thread reads([&] { chunks = stream("/v1/completions", {{"prompt", "The queen"}, {"max_tokens", 200}}); });
  while (served_->engine->figures().running < 2) std::this_thread::yield();
  server_->drain();
  waits.join();
  reads.join();
  EXPECT_GE(answer["usage"]["completion_tokens"], 1);
  EXPECT_FALSE(chunks.back()["choices"][0]["finish_reason"].is_null());
  EXPECT_FALSE(client().Get("/health"));
}

// What a day brings, in a few seconds: many short requests at a time, some cut off, some malformed; every answer is
// right.
TEST_F(ServerTest, ManyAtATime) {
  start();
  std::vector<std::string> expected;
  for (const char* prompt : {"The king", "A", "Once upon a time", "x = 1"})
    expected.push_back(served_->run_text(encode_prompt(served_->tokenizer, prompt), 6));
  std::atomic<int> n_right = 0, n_refused = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      const char* prompts[] = {"The king", "A", "Once upon a time", "x = 1"};
      httplib::Client kept = client();
      kept.set_keep_alive(true);
      for (int i = 0; i < 20; ++i) {
        const size_t which = static_cast<size_t>(t + i) % 4;
        const std::string body = Json{{"prompt", prompts[which]}, {"max_tokens", 6}, {"stream", i % 10 == 9}}.dump();
        if (i % 10 == 9) {  // cut off
          const int fd = connect();
          send(fd, fmt::format("POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{}", body.size(),
                               body.substr(0, i == 9 ? body.size() / 2 : body.size())));
          ::close(fd);
        } else if (i % 10 == 4) {
          const auto result = kept.Post("/v1/completions", body.substr(0, body.size() - 3), "application/json");
          n_refused += result && result->status == 400;
        } else {
          const auto result = kept.Post("/v1/completions", body, "application/json");
          n_right +=
              result && result->status == 200 && Json::parse(result->body)["choices"][0]["text"] == expected[which];
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_right, 8 * 16);
  EXPECT_EQ(n_refused, 8 * 2);
}

}  // namespace
}  // namespace steelyard::serve
