#include "jobs/search_budget.h"

#include <algorithm>

#include "base/error.h"
#include "gguf/layout.h"
#include "plan/plan.h"

namespace steelyard::jobs {
namespace {

// What a file's record of its own making varies by, besides the plan.
constexpr uint64_t kRecordVaries = 256;

void refuse_too_small(const ChoiceProblem& problem, uint64_t budget) {
  uint64_t least = 0;
  for (const search::TensorDamage& tensor : problem.damages)
    least += std::ranges::min(tensor.types, {}, &search::Damage::bytes).bytes;
  if (least > budget)
    fail("", "{} bytes are missing: in their smallest types the tensors need {} bytes, {} may be used", least - budget,
         least, budget);
}

Choice choose_within(const ChoiceProblem& problem, uint64_t budget) {
  refuse_too_small(problem, budget);
  Choice choice{.types = choose_types(problem, budget), .budget = budget};
  if (problem.max_rules > 0) choice.types = choose_simple(problem, budget, choice.types, choice);
  write_choice(problem, "", choice);
  return choice;
}

uint64_t sum_of_bytes(const std::vector<gguf::TensorInfo>& tensors) {
  uint64_t sum = 0;
  for (const gguf::TensorInfo& tensor : tensors) sum += tensor.n_bytes;
  return sum;
}

class BitsBudget : public SearchBudget {
 public:
  BitsBudget(const gguf::Source& source, double bpw) : source_(source) {
    uint64_t n_elements = 0;
    for (const gguf::TensorInfo& tensor : source.tensors()) n_elements += static_cast<uint64_t>(tensor.n_elements());
    bytes_ = static_cast<uint64_t>(bpw * static_cast<double>(n_elements) / 8);
  }

  uint64_t bytes() const override { return bytes_; }
  uint64_t missing(const search::Types& types) const override {
    const uint64_t needed = sum_of_bytes(tensors_in(source_.tensors(), types));
    return needed - std::min(needed, bytes_);
  }
  Choice choose(const ChoiceProblem& problem) const override { return choose_within(problem, bytes_); }

 private:
  const gguf::Source& source_;
  uint64_t bytes_;
};

// Data is padded, so bytes are counted with their padding.
class SizeBudget : public SearchBudget {
 public:
  // Before any file is there, its header is taken to be that of the source, or what it would be as GGUF.
  SizeBudget(const gguf::Source& source, uint64_t size) : source_(source), size_(size) {
    const bool is_gguf = source.version() > 0;
    for (int shard = 0; is_gguf && shard < source.n_shards(); ++shard) besides_ += source.header(shard).size();
    if (!is_gguf) {
      besides_ = gguf::lay_out(source.path(), source.metadata(), {source.tensors().begin(), source.tensors().end()})
                     .header.size();
    }
    if (size_ <= besides_) fail("", "--size: a header alone has {} bytes", besides_);
  }

  uint64_t bytes() const override { return bytes_beside(plan_bytes_); }
  uint64_t missing(const search::Types& types) const override {
    const uint64_t needed = padded_bytes(types);
    return needed - std::min(needed, bytes());
  }
  void learn(const search::Types& types, uint64_t file_bytes, uint64_t plan_bytes) override {
    besides_ = file_bytes - padded_bytes(types) - plan_bytes + kRecordVaries;
    plan_bytes_ = plan_bytes;
  }
  Choice choose(const ChoiceProblem& problem) const override;

 private:
  uint64_t bytes_beside(uint64_t plan_bytes) const { return size_ - std::min(size_, besides_ + plan_bytes); }
  uint64_t padded(uint64_t bytes) const {
    return (bytes + source_.alignment() - 1) / source_.alignment() * source_.alignment();
  }
  uint64_t padded_bytes(const search::Types& types) const {
    std::vector<gguf::TensorInfo> tensors = tensors_in(source_.tensors(), types);
    for (gguf::TensorInfo& tensor : tensors) tensor.n_bytes = padded(tensor.n_bytes);
    return sum_of_bytes(tensors);
  }

  const gguf::Source& source_;
  uint64_t size_;
  uint64_t besides_ = 0;  // what a file has besides tensor data and plan
  uint64_t plan_bytes_ = 0;
};

// The plan is in the file, without its comments.
Choice SizeBudget::choose(const ChoiceProblem& problem) const {
  ChoiceProblem with_padding = problem;
  for (search::TensorDamage& tensor : with_padding.damages)
    for (search::Damage& damage : tensor.types) damage.bytes = padded(damage.bytes);
  for (uint64_t plan_bytes = plan_bytes_;;) {
    Choice choice = choose_within(with_padding, bytes_beside(plan_bytes));
    const uint64_t now = plan::Plan::parse(choice.text, "plan").text().size();
    if (now <= plan_bytes) return choice;
    plan_bytes = now + kRecordVaries;
  }
}

}  // namespace

std::unique_ptr<SearchBudget> size_budget(const gguf::Source& source, uint64_t size) {
  return std::make_unique<SizeBudget>(source, size);
}

std::unique_ptr<SearchBudget> bits_budget(const gguf::Source& source, double bpw) {
  return std::make_unique<BitsBudget>(source, bpw);
}

}  // namespace steelyard::jobs
