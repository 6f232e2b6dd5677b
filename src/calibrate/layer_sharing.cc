#include "calibrate/layer_sharing.h"

#include <algorithm>
#include <utility>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "calibrate/batch_record.h"

namespace steelyard::calibrate {
namespace {

constexpr auto kShare = cluster::Channel::kShare;

ByteReader reader_of(const cluster::Message& message) { return {std::as_bytes(std::span(message)), "a message"}; }

void write_outcome(ByteWriter<std::string>& out, const RoundingTask& task, const RoundingOutcome& outcome) {
  out.number<int32_t>(static_cast<int32_t>(task.kind));
  out.number<uint64_t>(task.group);
  out.number<int64_t>(task.index);
  out.number<double>(outcome.texts.part);
  out.number<double>(outcome.texts.all);
  out.number<uint64_t>(outcome.slices.size());
  for (const RoundedSlice& slice : outcome.slices) {
    out.number<uint64_t>(slice.bytes.size());
    out.values(std::span<const std::byte>(slice.bytes));
    out.number<int32_t>(static_cast<int32_t>(slice.best));
    out.number<double>(slice.error);
    out.values(std::span<const double>(slice.loss));
  }
}

std::pair<RoundingTask, RoundingOutcome> read_outcome(ByteReader& in) {
  RoundingTask task;
  RoundingOutcome outcome;
  task.kind = static_cast<RoundingTask::Kind>(in.number<int32_t>());
  task.group = in.number<uint64_t>();
  task.index = in.number<int64_t>();
  outcome.texts.part = in.number<double>();
  outcome.texts.all = in.number<double>();
  for (auto left = in.number<uint64_t>(); left > 0; --left) {
    RoundedSlice& slice = outcome.slices.emplace_back();
    slice.bytes = in.values<std::byte>(in.number<uint64_t>());
    slice.best = static_cast<Rounding>(in.number<int32_t>());
    slice.error = in.number<double>();
    for (double& loss : slice.loss) loss = in.number<double>();
  }
  return {task, std::move(outcome)};
}

void write_means(std::string& message, const SliceHessians::Means& means) {
  ByteWriter out(message);
  for (const std::vector<float>* values : {&means.hessian, &means.cross_covariance}) {
    out.number<uint64_t>(values->size());
    out.values(std::span<const float>(*values));
  }
}

SliceHessians::Means read_means(const cluster::Message& message) {
  ByteReader in = reader_of(message);
  SliceHessians::Means means;
  for (std::vector<float>* values : {&means.hessian, &means.cross_covariance})
    *values = in.values<float>(in.number<uint64_t>());
  return means;
}

}  // namespace

void LayerSharing::send_to_others(const cluster::Message& message) const {
  for (int to = 0; to < ranks_.size(); ++to) {
    if (to != ranks_.rank()) ranks_.send(to, kShare, message);
  }
}

// Chunks that are broken here, in either model.
std::string LayerSharing::leave_note() const {
  std::string note;
  ByteWriter out(note);
  out.number<uint64_t>(original_.broken().size() + rounded_.broken().size());
  for (const schedule::LayerSweep* sweep : {&original_, &rounded_}) {
    for (const auto& [chunk, layer] : sweep->broken()) out.number<int64_t>(chunk);
  }
  return note;
}

// Returns whether that is news.
bool LayerSharing::take_note(ByteReader& in) {
  const size_t before = original_.broken().size() + rounded_.broken().size();
  for (auto left = in.number<uint64_t>(); left > 0; --left) {
    const auto chunk = in.number<int64_t>();
    original_.leave_out(chunk);
    rounded_.leave_out(chunk);
  }
  return original_.broken().size() + rounded_.broken().size() > before;
}

bool LayerSharing::watch(const model::Layer& layer, const model::Layer& rounded, model::LayerPart part,
                         const std::set<std::string>& weights, std::span<const Pass> passes,
                         const std::function<void()>& at_work) {
  struct Batch {
    const Pass* pass;
    int64_t begin, end;
  };
  std::vector<Batch> batches;
  for (const Pass& pass : passes) {
    const int64_t each = rounded_.chunks_per_batch();
    for (int64_t c = pass.begin; c < pass.end; c += each) batches.push_back({&pass, c, std::min(pass.end, c + each)});
  }
  const auto n_ranks = static_cast<size_t>(ranks_.size()), rank = static_cast<size_t>(ranks_.rank());
  const size_t n_before = original_.broken().size();
  for (size_t first = 0; first < batches.size(); first += n_ranks) {
    cluster::Message own;
    if (first + rank < batches.size()) {
      const Batch& batch = batches[first + rank];
      at_work();
      std::string inputs;
      BatchRecord record(weights);
      original_.watch(layer, part, batch.begin, batch.end, record);
      record.write(inputs);
      rounded_.watch(rounded, part, batch.begin, batch.end, record);
      record.write(inputs);
      own = leave_note() + inputs;
      send_to_others(own);
    }
    for (size_t from = 0; from < n_ranks && first + from < batches.size(); ++from) {
      const cluster::Message message = from == rank ? std::move(own) : ranks_.receive(static_cast<int>(from), kShare);
      ByteReader in = reader_of(message);
      take_note(in);
      if (original_.broken().size() > n_before) continue;  // this will be thrown away
      const Pass& pass = *batches[first + from].pass;
      pass.originals->clear();
      show_record(in, *layer.backend, *pass.originals);
      show_record(in, *layer.backend, *pass.collector);
    }
  }
  return original_.broken().size() == n_before;
}

void LayerSharing::advance(const model::Layer& layer, const model::Layer& rounded, model::LayerPart part) {
  const int64_t each = rounded_.chunks_per_batch(), n_chunks = rounded_.n_chunks();
  const auto of_rank = [&](int64_t first, int rank) {
    const int64_t begin = first + rank * each;
    return std::pair(begin, std::min(n_chunks, begin + each));
  };
  std::vector<float> states(static_cast<size_t>(rounded_.values_of_chunk()));
  for (int64_t first = 0; first < n_chunks; first += ranks_.size() * each) {
    const auto [begin, end] = of_rank(first, ranks_.rank());
    if (begin < end) {
      original_.advance_chunks(layer, part, begin, end);
      rounded_.advance_chunks(rounded, part, begin, end);
      cluster::Message message = leave_note();
      ByteWriter out(message);
      for (schedule::LayerSweep* sweep : {&original_, &rounded_}) {
        for (int64_t c = begin; c < end; ++c) {
          sweep->get_chunk(c, states);
          out.values(std::span<const float>(states));
        }
      }
      send_to_others(message);
    }
    for (int from = 0; from < ranks_.size(); ++from) {
      const auto [others_begin, others_end] = of_rank(first, from);
      if (from == ranks_.rank() || others_begin >= others_end) continue;
      const cluster::Message message = ranks_.receive(from, kShare);
      ByteReader in = reader_of(message);
      take_note(in);
      for (schedule::LayerSweep* sweep : {&original_, &rounded_}) {
        for (int64_t c = others_begin; c < others_end; ++c) {
          in.read(std::span(states));
          sweep->set_chunk(c, states);
        }
      }
    }
  }
  original_.end_part(part);
  rounded_.end_part(part);
}

void LayerSharing::pool(const SliceHessians& hessians) const {
  const int rank = ranks_.rank(), last = ranks_.size() - 1;
  SliceHessians::Means sums;
  if (rank > 0) sums = read_means(ranks_.receive(rank - 1, kShare));
  hessians.add_slices([&](int64_t slice) { return hessians.owner(slice) == rank; }, sums);
  cluster::Message message;
  write_means(message, sums);
  if (rank < last) {
    ranks_.send(rank + 1, kShare, message);
    sums = read_means(ranks_.receive(last, kShare));
  } else {
    send_to_others(message);
  }
  hessians.set_pooled(std::move(sums));
}

std::vector<RoundingTask> LayerSharing::own(const StageRounding& stage) const {
  std::vector<RoundingTask> tasks;
  for (const RoundingTask& task : stage.tasks()) {
    if (stage.owner(task) == ranks_.rank()) tasks.push_back(task);
  }
  return tasks;
}

void LayerSharing::exchange(const std::vector<std::pair<RoundingTask, RoundingOutcome>>& own,
                            const std::function<void(const RoundingTask&, const RoundingOutcome&)>& keep) const {
  cluster::Message message;
  ByteWriter out(message);
  out.number<uint64_t>(own.size());
  for (const auto& [task, outcome] : own) write_outcome(out, task, outcome);
  send_to_others(message);
  for (int from = 0; from < ranks_.size(); ++from) {
    if (from == ranks_.rank()) continue;
    const cluster::Message theirs = ranks_.receive(from, kShare);
    ByteReader in = reader_of(theirs);
    for (auto left = in.number<uint64_t>(); left > 0; --left) {
      const auto [task, outcome] = read_outcome(in);
      keep(task, outcome);
    }
  }
}

}  // namespace steelyard::calibrate
