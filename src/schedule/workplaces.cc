#include "schedule/workplaces.h"

namespace steelyard {

Pass Workplaces::pass(Backend& backend, MatmulObserver* observer) {
  return {backend, place(backend).scratch, norm_eps_, observer};
}

Matrix Workplaces::stream(Backend& backend, int64_t n, int64_t width) {
  Place& here = place(backend);
  if (n * width > here.n_values) {
    here.stream.reset();  // first, so that both need not fit
    here.stream = backend.allocate(static_cast<size_t>(n * width) * sizeof(float));
    here.n_values = n * width;
  }
  return {reinterpret_cast<float*>(here.stream.get()), n, width, width};
}

Matrix Workplaces::hand_on(Backend& from, Matrix x, Backend& to) {
  if (&from == &to) return x;
  STEELYARD_CHECK(x.stride == x.cols);
  const Matrix y = stream(to, x.rows, x.cols);
  host_.resize(static_cast<size_t>(x.rows * x.cols));
  from.download(host_.data(), x.data, host_.size() * sizeof(float));
  to.upload(y.data, host_.data(), host_.size() * sizeof(float));
  return y;
}

}  // namespace steelyard
