#include "chat/transcript.h"

#include <algorithm>
#include <optional>
#include <string>

namespace steelyard::chat {
namespace {

using Ids = std::vector<tokenizer::TokenId>;

size_t common_beginning(const Ids& a, const Ids& b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

// The role of a message; nothing: the template's business.
Role role_of(const Json& message) {
  const std::string role = message["role"].get<std::string>();
  if (role == "system" || role == "developer") return Role::kSystem;
  if (role == "user") return Role::kUser;
  if (role == "assistant") return Role::kAssistant;
  return role == "tool" || role == "function" ? Role::kTool : Role::kTemplate;
}

// One conversation on its way to tokens.
class TranscriptReader {
 public:
  TranscriptReader(const Template& chat, const tokenizer::Tokenizer& tokenizer, const Conversation& conversation)
      : chat_(chat), tokenizer_(tokenizer), conversation_(conversation) {}

  std::vector<Transcript> read() {
    add(render(conversation_.messages.size(), /*add_generation_prompt=*/false));
    std::vector<std::optional<Said>> answers(conversation_.messages.size());
    // A later answer's transcript may have the earlier ones.
    for (size_t i = answers.size(); i-- > 0;) {
      if (role_of(conversation_.messages[i]) == Role::kAssistant) answers[i] = answer(i);
      if (answers[i]) place(*answers[i]);
    }
    label_others(answers);
    return std::move(transcripts_);
  }

 private:
  struct Said {
    Ids ids;  // the conversation with it
    size_t begin, end;
  };

  Ids render(size_t n_messages, bool add_generation_prompt) const {
    return tokenize(tokenizer_, chat_.render_request(first_messages(conversation_, n_messages, add_generation_prompt)));
  }

  void add(Ids ids) {
    const size_t n = ids.size();
    const Role rest = transcripts_.empty() ? Role::kTemplate : Role::kRepeated;
    transcripts_.push_back({std::move(ids), std::vector<Role>(n, rest)});
  }

  // Nothing for a message that cannot be the last one.
  std::optional<Said> answer(size_t i) const {
    try {
      Said found{.ids = render(i + 1, false), .begin = 0, .end = 0};
      found.begin = common_beginning(found.ids, render(i, true));
      found.end = found.ids.size();
      // What a template writes after the end of a turn is nothing that a model says.
      const auto said = std::span(found.ids).subspan(found.begin);
      for (size_t k = said.size(); k-- > 0;) {
        if (!tokenizer_.is_end_of_generation(said[k])) continue;
        found.end = found.begin + k + 1;
        break;
      }
      return found;
    } catch (const TemplateError&) {
      return std::nullopt;
    }
  }

  void place(const Said& answer) {
    const auto has_it = [&](const Transcript& in) { return common_beginning(answer.ids, in.ids) >= answer.end; };
    auto found = std::ranges::find_if(transcripts_, has_it);
    if (found == transcripts_.end()) {
      add({answer.ids.begin(), answer.ids.begin() + static_cast<std::ptrdiff_t>(answer.end)});
      found = std::prev(transcripts_.end());
    }
    std::fill(found->roles.begin() + static_cast<std::ptrdiff_t>(answer.begin),
              found->roles.begin() + static_cast<std::ptrdiff_t>(answer.end), Role::kAssistant);
  }

  // Texts of users, tools and the system are found as they stand; what a template has changed is its own.
  void label_others(std::span<const std::optional<Said>> answers) {
    Transcript& whole = transcripts_.front();
    std::string text;
    std::vector<size_t> offsets;  // of each token in it
    for (const tokenizer::TokenId id : whole.ids) {
      offsets.push_back(text.size());
      text += tokenizer_.decode(std::span(&id, 1), /*special=*/true);
    }
    size_t from = 0;
    for (size_t i = 0; i < answers.size(); ++i) {
      const Json& message = conversation_.messages[i];
      const Role role = role_of(message);
      if (role == Role::kTemplate) continue;
      for (const std::string& part : texts(message)) from = label(whole, text, offsets, from, part, role);
    }
  }

  // Where the next text may stand.
  static size_t label(Transcript& in, const std::string& text, std::span<const size_t> offsets, size_t from,
                      std::string_view part, Role role) {
    constexpr std::string_view kBlank = " \t\r\n";
    part.remove_prefix(std::min(part.find_first_not_of(kBlank), part.size()));
    part = part.substr(0, part.find_last_not_of(kBlank) + 1);
    const size_t found = part.empty() ? std::string::npos : text.find(part, from);
    if (found == std::string::npos) return from;
    const size_t end = found + part.size();
    if (role == Role::kAssistant) return end;  // labelled already
    // A token that begins with a space before the text is the text's as well.
    for (size_t t = 0; t < offsets.size() && offsets[t] < end; ++t) {
      const size_t token_end = t + 1 < offsets.size() ? offsets[t + 1] : text.size();
      if (token_end > found && in.roles[t] == Role::kTemplate) in.roles[t] = role;
    }
    return end;
  }

  const Template& chat_;
  const tokenizer::Tokenizer& tokenizer_;
  const Conversation& conversation_;
  std::vector<Transcript> transcripts_;
};

}  // namespace

std::string_view name(Role role) {
  constexpr std::string_view kNames[kRoles] = {"template", "system", "user", "assistant", "tool", "repeated"};
  return kNames[static_cast<size_t>(role)];
}

std::vector<Transcript> transcripts(const Template& chat, const tokenizer::Tokenizer& tokenizer,
                                    const Conversation& conversation) {
  return TranscriptReader(chat, tokenizer, conversation).read();
}

}  // namespace steelyard::chat
