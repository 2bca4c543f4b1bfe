#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <stdexcept>
#include <vector>

#include <nvfp4/nvfp4.hpp>

#include "tests/cpu_tables.hpp"
#include "tests/gaussian.hpp"

using namespace nvfp4;

/// OsciReset on weights that an optimizer moves.
namespace {

/// One row of 128 whose first 16 have scales of 2^-8 and 256, exactly: codes are read off values.
Matrix row_of(const std::vector<float>& first) {
  Matrix w(1, 128);
  w.f32()[15] = 6;
  w.f32()[31] = 2688.f / 256;
  std::ranges::copy(first, w.f32());
  return w;
}

using Move = std::function<void(Matrix&, std::int64_t step)>;

struct Run {
  Matrix w;
  std::int64_t resets = 0;
};

/// Steps 0 to track + 1, moved before each but the first and the last.
Run run(Matrix w, const Move& move, const OsciReset& how = {}, const Kernels& k = cpu_kernels()) {
  OsciResetState state;
  Run made{std::move(w)};
  for (std::int64_t step = 0; step <= how.track + 1; ++step) {
    if (step > 0 && step <= how.track) move(made.w, step);
    OsciResetStep next = osci_reset(made.w, step, how, state, k);
    made = {std::move(next.w), made.resets + next.resets};
    state = std::move(next.state);
  }
  CHECK(state == OsciResetState{});
  return made;
}

Matrix decoded(const Matrix& w, const Kernels& k = cpu_kernels()) {
  return k.dequantize(k.quantize(w.view(), default_spec(dialects::tetrajet_v2::info), {}));
}

/// A random walk of all weights but each block's largest, so small that codes change about edges alone.
Move walk(float size) {
  return [size](Matrix& w, std::int64_t step) {
    std::mt19937 random(static_cast<unsigned>(step));
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < w.rows; ++i)
      for (std::int64_t j = 0; j < w.cols; j += 16) {
        float *block = w.f32() + i * w.cols + j, *end = block + std::min<std::int64_t>(16, w.cols - j);
        const float* largest =
            std::max_element(block, end, [](float x, float y) { return std::fabs(x) < std::fabs(y); });
        for (float* x = block; x < end; ++x) {
          const float to = *x + size * normal(random);
          if (x != largest && std::fabs(to) < std::fabs(*largest)) *x = to;
        }
      }
  };
}

}  // namespace

TEST_CASE(
    "osci_reset: a weight that swings about an edge is put onto the grid, one that travels or rests is not") {
  const Matrix w = row_of({1.2499f, 0.5f, 1.2f});
  const Run made = run(w, [](Matrix& m, std::int64_t step) {
    m.f32()[0] = step % 2 ? 1.2501f : 1.2499f;
    m.f32()[1] += 0.1f;  // through the grid: about as far as its values
  });
  CHECK(made.resets == 1);
  CHECK(made.w.f32()[0] == decoded(made.w).f32()[0]);
  CHECK(std::fabs(made.w.f32()[0] - 1) < 1e-6f);  // after 50 steps it is at 1.2499
  CHECK(made.w.f32()[1] > 5.4f);
  CHECK(made.w.f32()[2] == 1.2f);
}

TEST_CASE("osci_reset: the threshold is inclusive, and compares travelled ways") {
  // Two swings of 1/16 about 1.25, from 1.21875 to 1.28125 and back: values travel 0.5 each, a ratio of 8.
  const Move swing = [](Matrix& m, std::int64_t step) { m.f32()[0] = step == 1 ? 1.28125f : 1.21875f; };
  const auto resets = [&](float threshold) {
    return run(row_of({1.21875f}), swing, {.threshold = threshold}).resets;
  };
  CHECK(decoded(row_of({1.21875f})).f32()[0] == 1.f);
  CHECK(decoded(row_of({1.28125f})).f32()[0] == 1.5f);
  CHECK(resets(8) == 1);
  CHECK(resets(std::nextafter(8.f, 9.f)) == 0);
}

TEST_CASE("osci_reset: what was reset is a fixed point, and a watch without motion resets nothing") {
  const Matrix w = gaussian::matrix(6, 300, 1);
  const Run made = run(w, walk(0.002f));
  CHECK(made.resets > 20);
  const Matrix d = decoded(made.w);
  std::int64_t on_grid = 0;
  for (std::int64_t i = 0; i < 6 * 300; ++i) on_grid += made.w.f32()[i] == d.f32()[i];
  CHECK(on_grid >= made.resets);  // the blocks' largest did not move, so neither did their scales
  const Run again = run(made.w, [](Matrix&, std::int64_t) {});
  CHECK(again.resets == 0);
  CHECK(again.w.bytes == made.w.bytes);
}

TEST_CASE("osci_reset: the memory-efficient variant watches the tenth that is nearest to edges") {
  const Matrix w = gaussian::matrix(2, 150, 3);
  const OsciResetState state = osci_reset(w, 0, {.share = 10}, {}, cpu_kernels()).state;
  REQUIRE(state.elements.size() == 30);
  CHECK(std::ranges::is_sorted(state.elements));
  // Below 6 the distance from a bin's middle is half its width at most, and within it bins are as wide as E2M1's steps.
  const BlockScaledTensor q = cpu_kernels().quantize(w.view(), default_spec(dialects::tetrajet_v2::info), {});
  constexpr double values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6}, widths[] = {0.5, 0.5, 0.5, 0.5, 0.75, 1, 1.5, 2};
  std::vector<double> distances;
  for (std::int64_t i = 0; i < 2; ++i)
    for (std::int64_t j = 0; j < 150; ++j) {
      const std::uint32_t byte = q.codes[static_cast<std::size_t>(i * q.row_bytes() + j / 2)] >> (j % 2 * 4);
      const std::uint32_t scale = q.scales[static_cast<std::size_t>(i * q.blocks_per_row() + j / 16)];
      float s = 0;
      reference_kernels().decode({&scale, 1}, Format::e4m3, {&s, 1});
      const double y = std::fabs(double{w.f32()[i * 150 + j]}) / (double{s} * q.global_at(i, j));
      distances.push_back(std::fabs(y - values[byte & 7]) / widths[byte & 7]);
    }
  double nearest_left = 0, farthest_taken = 1;
  for (std::size_t i = 0; i < distances.size(); ++i) {
    const bool taken = std::ranges::binary_search(state.elements, static_cast<std::int64_t>(i));
    if (taken) farthest_taken = std::min(farthest_taken, distances[i]);
    if (!taken) nearest_left = std::max(nearest_left, distances[i]);
  }
  CHECK(nearest_left <= farthest_taken + 1e-6);
  const Run all = run(w, walk(0.002f)), some = run(w, walk(0.002f), {.share = 10});
  CHECK(some.resets > 0);
  CHECK(some.resets < all.resets);
}

TEST_CASE("osci_reset: it begins at its start, with a period, and only if the beginning was seen") {
  const Matrix w = row_of({1.25f});
  const Kernels& k = cpu_kernels();
  const auto watches = [&](std::int64_t step, const OsciReset& how) {
    return !osci_reset(w, step, how, {}, k).state.elements.empty();
  };
  CHECK(watches(0, {}));
  CHECK(watches(800, {}));
  CHECK_FALSE(watches(1, {}));
  CHECK_FALSE(watches(399, {}));
  CHECK_FALSE(watches(400, {.start = 401}));
  CHECK(watches(800, {.start = 401}));
  const OsciResetState state = osci_reset(w, 0, {}, {}, k).state;
  CHECK(osci_reset(w, 52, {}, state, k).state == state);  // the step that resets was missed
  CHECK_FALSE(osci_reset(w, 50, {}, state, k).state == OsciResetState{});
  CHECK(osci_reset(w, 51, {}, state, k).state == OsciResetState{});
}

TEST_CASE("osci_reset: the same bytes by every instruction set and by the reference") {
  const Matrix w = gaussian::matrix(3, 150, 5);
  const OsciReset how{.track = 4, .threshold = 3, .share = 60};
  const Run expected = run(w, walk(0.01f), how, reference_kernels());
  CHECK(expected.resets > 0);
  for (const Kernels* k : cpu_tables()) CHECK(run(w, walk(0.01f), how, *k).w.bytes == expected.w.bytes);
}

TEST_CASE("osci_reset: what does not go together is refused") {
  const Matrix w = row_of({});
  const Kernels& k = cpu_kernels();
  const auto refused = [&](const OsciReset& how) {
    CHECK_THROWS_AS(osci_reset(w, 0, how, {}, k), std::invalid_argument);
  };
  refused({.period = 51});
  refused({.track = 0});
  refused({.threshold = 0});
  refused({.share = 0});
  refused({.share = 101});
  CHECK_THROWS_AS(osci_reset(Matrix(1, 16, Dtype::bf16), 0, {}, {}, k), std::invalid_argument);
  CHECK_THROWS_AS(osci_reset(w, -1, {}, {}, k), std::invalid_argument);
  OsciResetState state = osci_reset(w, 0, {}, {}, k).state;
  CHECK_THROWS_AS(osci_reset(Matrix(1, 16), 1, {}, state, k), std::invalid_argument);
  state.d.pop_back();
  CHECK_THROWS_AS(osci_reset(w, 1, {}, state, k), std::invalid_argument);
}
