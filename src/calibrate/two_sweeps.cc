#include "calibrate/two_sweeps.h"

#include <algorithm>

#include "calibrate/chunk_sweep.h"

namespace steelyard::calibrate {

TwoSweeps::TwoSweeps(const model::Model& model, const tokenizer::Chunks& chunks, const schedule::SweepOptions& options,
                     size_t n_lanes, cluster::Ranks* ranks)
    : original_(model, chunks.n_ctx(), ids_of(chunks), options_for(chunks, options)),
      rounded_(model, chunks.n_ctx(), ids_of(chunks), options_for(chunks, options)) {
  for (schedule::LayerSweep* sweep : {&original_, &rounded_}) {
    sweep->start(0, chunks.count());
    sweep->reserve_lanes(n_lanes);
  }
  if (cluster::are_several(ranks)) sharing_.emplace(*ranks, original_, rounded_);
}

bool TwoSweeps::share_broken() {
  const auto share = [](const schedule::LayerSweep& from, schedule::LayerSweep& to) {
    const size_t before = to.broken().size();
    for (const auto& [chunk, layer] : from.broken()) to.leave_out(chunk);
    return to.broken().size() > before;
  };
  const bool rounded = share(original_, rounded_);
  return share(rounded_, original_) || rounded;
}

std::vector<TwoSweeps::Hessians> TwoSweeps::watch(LayerCopies& copies, const Watch& watch,
                                                  std::span<const std::pair<int64_t, int64_t>> passes) {
  if (sharing_) return watch_in_ranks(copies, watch, passes);
  std::vector<Hessians> hessians;
  for (const auto& [begin, end] : passes) hessians.push_back(watch_here(copies, watch, begin, end));
  return hessians;
}

// A chunk that breaks has already changed the sums, so they are collected again without it.
TwoSweeps::Hessians TwoSweeps::watch_here(LayerCopies& copies, const Watch& watch, int64_t begin, int64_t end) {
  while (true) {
    Stopwatch stopwatch;
    const size_t n_broken = rounded_.broken().size();
    std::vector<InputRecorder> originals(copies.size(), InputRecorder(watch.weights));
    HessianCollector collector(watch.weights, &originals.front(), watch.space);
    watch_batches(copies, watch, collector, originals, begin, end);
    const bool whole = !share_broken() && rounded_.broken().size() == n_broken;
    Hessians hessians;
    if (whole) hessians = collector.take(copies.backend());
    const double all = stopwatch.lap(),
                 moments = std::min(all, collector.seconds() / static_cast<double>(copies.size()));
    watch.times.add(Work::kMoments, moments);
    watch.times.add(Work::kForward, all - moments);
    if (whole) return hessians;
  }
}

// Batches are dealt to the copies in turn, and pass in the original model first. Their inputs are counted in the order
// of batches.
void TwoSweeps::watch_batches(LayerCopies& copies, const Watch& watch, HessianCollector& collector,
                              std::span<InputRecorder> originals, int64_t begin, int64_t end) {
  const int64_t each = rounded_.chunks_per_batch(), n_batches = (end - begin + each - 1) / each;
  const auto n = static_cast<int64_t>(copies.size());
  const std::vector<model::Layer> rounded = copies.rounded();
  BatchOrder order;
  copies.on_each([&](size_t copy) {
    InputRecorder& recorder = originals[copy];
    HessianCollector own = collector.beside(&recorder);
    try {
      for (auto batch = static_cast<int64_t>(copy); batch < n_batches; batch += n) {
        const int64_t from = begin + batch * each, to = std::min(end, from + each);
        if (copy == 0) watch.at_work();
        recorder.clear();
        original_.watch(copies.originals()[copy], watch.part, from, to, recorder, copy);
        own.begin_batch(order, batch);
        rounded_.watch(rounded[copy], watch.part, from, to, own, copy);
        order.over(batch);
      }
    } catch (...) {
      order.fail(std::current_exception());
    }
  });
  order.rethrow();
}

// All passes at a time, so that there are batches for all ranks.
std::vector<TwoSweeps::Hessians> TwoSweeps::watch_in_ranks(LayerCopies& copies, const Watch& watch,
                                                           std::span<const std::pair<int64_t, int64_t>> passes) {
  const model::Layer rounded = copies.rounded().front();
  while (true) {
    Stopwatch stopwatch;
    std::vector<InputRecorder> originals(passes.size(), InputRecorder(watch.weights));
    std::vector<HessianCollector> collectors;
    std::vector<LayerSharing::Pass> shared;
    collectors.reserve(passes.size());
    for (size_t i = 0; i < passes.size(); ++i) {
      collectors.emplace_back(watch.weights, &originals[i], watch.space);
      shared.push_back({passes[i].first, passes[i].second, &originals[i], &collectors[i]});
    }
    const bool whole =
        sharing_->watch(copies.originals().front(), rounded, watch.part, watch.weights, shared, watch.at_work);
    std::vector<Hessians> hessians;
    double moments = 0;
    for (HessianCollector& collector : collectors) {
      if (whole) hessians.push_back(collector.take(copies.backend()));
      moments += collector.seconds();
    }
    watch.times.add(Work::kMoments, moments);
    watch.times.add(Work::kForward, stopwatch.lap() - moments);
    if (!whole) continue;
    // The mean over all slices, of each input once.
    std::set<const SliceHessians*> pooled;
    for (const Hessians& of_pass : hessians) {
      for (const auto& [name, sums] : of_pass) {
        if (sums->n_slices() > 1 && pooled.insert(sums.get()).second) sharing_->pool(*sums);
      }
    }
    watch.times.add(Work::kMoments, stopwatch.lap());
    return hessians;
  }
}

void TwoSweeps::advance(LayerCopies& copies, model::LayerPart part) {
  const std::vector<model::Layer> rounded = copies.rounded();
  if (sharing_) return sharing_->advance(copies.originals().front(), rounded.front(), part);
  original_.advance_dealt(copies.originals(), part);
  rounded_.advance_dealt(rounded, part);
}

}  // namespace steelyard::calibrate
