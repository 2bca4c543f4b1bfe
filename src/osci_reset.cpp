#include <nvfp4/osci_reset.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include <nvfp4/kernels.hpp>

#include "float_environment.hpp"
#include "stored_code.hpp"

namespace nvfp4 {
namespace {

void validate(const OsciReset& how, const Matrix& w, std::int64_t step, const OsciResetState& state) {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(std::string("OsciReset: expected ") + what);
  };
  require(how.track >= 1 && how.period > how.track + 1, "a period of more than track + 1 steps");
  require(how.threshold > 0, "a threshold above 0");
  require(how.share >= 1 && how.share <= 100, "a share of 1 to 100 percent");
  require(step >= 0, "a step of 0 or more");
  require(w.dtype == Dtype::fp32, "weights in fp32");
  const std::size_t count = state.elements.size();
  for (const auto* values : {&state.w, &state.d, &state.w_moved, &state.d_moved})
    require(values->size() == count, "a state of as many values as elements");
  for (const std::int64_t i : state.elements)
    require(i >= 0 && i < w.rows * w.cols, "a state whose elements are in the weights");
}

/// By E2M1 magnitude code.
constexpr float bin_widths[] = {0.5f, 0.5f, 0.5f, 0.5f, 0.75f, 1, 1.5f, 2};

float of_code(std::uint32_t code, Format format, const Kernels& kernels) {
  float value = 0;
  kernels.decode({&code, 1}, format, {&value, 1});
  return value;
}

/// How far each weight lies from the middle of its bin, in widths of it; 0 where that is no number.
std::vector<float> distances(const Matrix& w, const BlockScaledTensor& q, const Kernels& kernels) {
  std::vector<float> all(static_cast<std::size_t>(w.rows * w.cols));
  for (std::int64_t i = 0; i < w.rows; ++i)
    for (std::int64_t j = 0; j < w.cols; ++j) {
      const auto code = static_cast<std::uint32_t>(code_at(q, i, j));
      const float s = q.global_at(i, j) * of_code(scale_at(q, i, j), Format::e4m3, kernels);
      const float away = std::fabs(w.f32()[i * w.cols + j] / s - of_code(code, Format::e2m1, kernels));
      const float distance = away / bin_widths[code & 7];
      all[static_cast<std::size_t>(i * w.cols + j)] = std::isnan(distance) ? 0 : distance;
    }
  return all;
}

std::vector<std::int64_t> watched(const Matrix& w, const BlockScaledTensor& q, int share,
                                  const Kernels& kernels) {
  std::vector<std::int64_t> elements(static_cast<std::size_t>(w.rows * w.cols));
  std::iota(elements.begin(), elements.end(), std::int64_t{0});
  if (share == 100) return elements;
  const std::vector<float> distance = distances(w, q, kernels);
  std::ranges::stable_sort(elements, std::ranges::greater{},
                           [&](std::int64_t i) { return distance[static_cast<std::size_t>(i)]; });
  elements.resize((elements.size() * static_cast<std::size_t>(share) + 99) / 100);
  std::ranges::sort(elements);
  return elements;
}

std::vector<float> at(const Matrix& m, const std::vector<std::int64_t>& elements) {
  std::vector<float> values;
  for (const std::int64_t i : elements) values.push_back(m.f32()[i]);
  return values;
}

void follow(std::vector<float>& before, std::vector<float>& moved, const std::vector<float>& now) {
  for (std::size_t i = 0; i < now.size(); ++i) moved[i] += std::fabs(now[i] - before[i]);
  before = now;
}

std::int64_t reset(Matrix& w, const Matrix& d, const OsciResetState& state, float threshold) {
  std::int64_t resets = 0;
  for (std::size_t i = 0; i < state.elements.size(); ++i) {
    if (state.w_moved[i] == 0 || !(state.d_moved[i] / state.w_moved[i] >= threshold)) continue;
    w.f32()[state.elements[i]] = d.f32()[state.elements[i]];
    ++resets;
  }
  return resets;
}

}  // namespace

OsciResetStep osci_reset(Matrix w, std::int64_t step, const OsciReset& how, OsciResetState state,
                         const Kernels& kernels) {
  const cpu::FloatEnvironment fenced;
  validate(how, w, step, state);
  const std::int64_t phase = step % how.period;
  const bool seen = phase == 0 || (phase <= how.track + 1 && !state.elements.empty());
  if (step < how.start || !seen) return {std::move(w), std::move(state)};
  const BlockScaledTensor q = kernels.quantize(w.view(), default_spec(dialects::tetrajet_v2::info), {});
  const Matrix d = kernels.dequantize(q);
  if (phase == 0) {
    state.elements = watched(w, q, how.share, kernels);
    state.w = at(w, state.elements), state.d = at(d, state.elements);
    state.w_moved.assign(state.w.size(), 0), state.d_moved.assign(state.d.size(), 0);
    return {std::move(w), std::move(state)};
  }
  if (phase <= how.track) {
    follow(state.w, state.w_moved, at(w, state.elements));
    follow(state.d, state.d_moved, at(d, state.elements));
    return {std::move(w), std::move(state)};
  }
  const std::int64_t resets = reset(w, d, state, how.threshold);
  return {std::move(w), {}, resets};
}

}  // namespace nvfp4
