// What shapes the prompt that a chat template makes of messages. Shared by `chat` and `run --chat`.
#pragma once

#include <string>

namespace steelyard::jobs {

struct TemplateOptions {
  std::string chat_template;         ///< a file with a template, instead of the model's
  std::string chat_template_kwargs;  ///< JSON of an object: further names that the template sees
  std::string date;                  ///< what the time is for templates, "2026-01-02T03:04:05"; empty: what it is
  std::string system;                ///< the system's message; empty: none

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("chat_template", self.chat_template);
    visit("chat_template_kwargs", self.chat_template_kwargs);
    visit("date", self.date);
    visit("system", self.system);
  }
};

}  // namespace steelyard::jobs
