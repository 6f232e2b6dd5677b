// The server: OpenAI's endpoints over an engine. Every request passes the gate first (its kind, the client's key, its
// origin, its size), before any of its body is read; then a handler reads its fields, asks the engine and writes what
// comes. Called by jobs/serve.cc.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "chat/template.h"
#include "serve/answers.h"
#include "serve/comparison.h"
#include "serve/engine.h"
#include "serve/gate.h"
#include "serve/http_server.h"
#include "serve/metrics.h"
#include "serve/requests.h"

namespace steelyard::serve {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;                       ///< 0: any that is free
  std::string api_key;                   ///< empty: none is asked for
  std::string model;                     ///< its name for clients
  generate::SamplingOptions sampling;    ///< where a request says nothing
  const chat::Template* chat = nullptr;  ///< null: chats are refused; outlives the server
  Comparison* comparison = nullptr;      ///< null: there is no page; outlives the server
  std::string base;                      ///< name of what is compared with
  ConnectionLimits limits;
  size_t most_connections = 256;
};

class Server {
 public:
  /// Listens from now on, and answers as soon as connections come; keeps references to both. Error when the port cannot
  /// be had.
  Server(Engine& engine, const tokenizer::Tokenizer& tokenizer, ServerOptions options);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  /// drain() first.
  ~Server();

  int port() const { return port_; }
  /// Takes no more requests, and returns when those that run have been answered.
  void drain();

 private:
  using Piece = std::function<std::string(tokenizer::TokenId)>;  // of TextRequest
  using Handle = void (Server::*)(const json::Json& body, httplib::Response& response);

  void set_up_routes();
  void get(const std::string& path, const std::function<void(httplib::Response&)>& handler, bool open = false);
  void post(const std::string& path, Handle handle);
  json::Json read_body(const httplib::ContentReader& read) const;

  void complete(const json::Json& body, httplib::Response& response);
  void chat(const json::Json& body, httplib::Response& response);
  void tokenize(const json::Json& body, httplib::Response& response);
  void compare(const json::Json& body, httplib::Response& response);
  chat::Rendered render(ChatRequest request) const;
  json::Json models() const;
  void start(const SharedFields& shared, std::vector<std::vector<tokenizer::TokenId>> prompts, bool score_prompt,
             const Piece& piece, std::shared_ptr<AnswerWriter> writer, httplib::Response& response);
  void check_prompt(std::span<const tokenizer::TokenId> prompt) const;

  Engine& engine_;
  const tokenizer::Tokenizer& tokenizer_;
  const ServerOptions options_;
  const int64_t started_;
  Metrics metrics_;
  Gate gate_;
  HttpServer http_;
  int port_ = 0;
  std::jthread thread_;
};

}  // namespace steelyard::serve
