#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <stdexcept>
#include <vector>

#include "gpu/chain_gemm_sm90.hpp"
#include "gpu/split_sum.cuh"
#include "tests/gpu.hpp"
#include "tests/gpu_gemm_cases.hpp"
#include "tests/gpu_operand.hpp"

using namespace nvfp4;
using gpu_array::Array;
using gpu_array::OnDevice;

/// The emulated GEMM by wgmma against the CPU layer's sm100_nvfp4.
namespace {

bool has_hopper(const char* test) {
  if (gpu_layer::is_missing()) return false;
  cudaDeviceProp device{};
  gpu::check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  if (device.major == 9) return true;
  std::printf("not run: no GPU of compute capability 9.0 (%s)\n", test);
  return false;
}

const Accumulation& model() { return *find_accumulation("sm100_nvfp4"); }

/// Which tiles of 128 x 128 are in the list.
std::vector<bool> listed(const gpu::TileList& list, std::int64_t m, std::int64_t n) {
  std::uint32_t count = 0;
  gpu::check(cudaMemcpy(&count, list.count, sizeof count, cudaMemcpyDeviceToHost), "cudaMemcpy");
  std::vector<std::uint32_t> tiles(count);
  gpu::check(cudaMemcpy(tiles.data(), list.tiles, count * sizeof count, cudaMemcpyDeviceToHost),
             "cudaMemcpy");
  std::vector<bool> in(static_cast<std::size_t>(gpu::tiles_of(m) * gpu::tiles_of(n)));
  for (const std::uint32_t tile : tiles) {
    REQUIRE(tile < in.size());
    CHECK(!in[tile]);
    in[tile] = true;
  }
  return in;
}

/// Bytes are compared; of outputs in tiles that are not in the list.
std::int64_t differing(const std::vector<float>& got, const Matrix& want, const std::vector<bool>& in) {
  std::int64_t wrong = 0;
  const std::int64_t n = want.cols;
  for (std::int64_t i = 0; i < want.rows * n; ++i) {
    const std::int64_t tile = i / n / 128 * gpu::tiles_of(n) + i % n / 128;
    if (!in[static_cast<std::size_t>(tile)])
      wrong += std::memcmp(&got[static_cast<std::size_t>(i)], want.f32() + i, sizeof(float)) != 0;
  }
  return wrong;
}

struct Shape {
  std::int64_t m, n, k;
  std::size_t outputs() const { return static_cast<std::size_t>(m * n); }
  std::size_t workspace() const { return static_cast<std::size_t>(gpu::chain_gemm_bytes(m, n)); }
};

const gemm_cases::Case& named(std::string_view what, const std::vector<gemm_cases::Case>& cases) {
  for (const gemm_cases::Case& x : cases)
    if (x.what == what) return x;
  throw std::invalid_argument("no such case");
}

struct Shares {
  gpu::StepCounts steps;
  std::size_t left;
};

Shares shares(const char* what) {
  const Shape s{300, 520, 1024};
  const std::vector<gemm_cases::Case> cases = gemm_cases::all();
  const OnDevice a(named(what, cases).make(s.m, s.k, 1)), b(named(what, cases).make(s.n, s.k, 2));
  const Array<float> d(s.outputs());
  const Array<std::uint8_t> workspace(s.workspace());
  const Array<gpu::StepCounts> counts(1);
  const gpu::TileList list = gpu::chain_gemm_sm90(
      {.a = a.expanded, .b = b.expanded, .d = d.data(), .counts = counts.data()}, workspace.data(), nullptr);
  std::size_t left = 0;
  for (const bool in : listed(list, s.m, s.n)) left += in;
  return {counts.values()[0], left};
}

}  // namespace

namespace {

/// Of a million sums at the bounds of split_sum(), how many are not exact.
std::int64_t inexact_sums(int origin_bits) {
  std::mt19937_64 random(1);
  const auto below = [&](int bits, int significant) {  // an integer that FP32 holds
    const auto x = static_cast<std::int64_t>(random() >> (64 - significant)) << (bits - significant);
    return random() % 2 ? x : -x;
  };
  std::int64_t wrong = 0;
  for (int n = 0; n < 1000000; ++n) {
    std::int64_t x[5] = {below(24 + static_cast<int>(random() % 13), 24)};
    for (int g = 1; g < 5; ++g) x[g] = below(20 + static_cast<int>(random() % 22), 20);
    const auto f = [&](int i) { return static_cast<float>(x[i]); };
    const gpu::SplitSum sum = gpu::split_sum(f(0), f(1), f(2), f(3), f(4), std::ldexp(1.5f, origin_bits));
    wrong += static_cast<std::int64_t>(sum.coarse) + static_cast<std::int64_t>(sum.fine) !=
             x[0] + x[1] + x[2] + x[3] + x[4];
  }
  return wrong;
}

}  // namespace

TEST_CASE("split_sum() is exact up to its bounds, and not from a wrong origin") {
  CHECK(inexact_sums(gpu::origin_bits) == 0);
  CHECK(inexact_sums(gpu::origin_bits + 5) > 0);
  CHECK(inexact_sums(gpu::origin_bits - 5) > 0);
}

TEST_CASE("the GEMM by wgmma is the CPU's model, and hands on what it cannot do") {
  if (!has_hopper("GEMM by wgmma")) return;
  for (const gemm_cases::Case& x : gemm_cases::all())
    for (const Shape s : {Shape{1, 1, 1},
                          {1, 130, 64},
                          {257, 130, 1000},
                          {129, 511, 2049},
                          {300, 520, 200},
                          {512, 384, 4096}}) {
      CAPTURE(x.what);
      CAPTURE(s.m);
      const BlockScaledTensor a = x.make(s.m, s.k, 1), b = x.make(s.n, s.k, 2);
      const Matrix want = cpu_kernels().multiply(a, b, model(), {});
      const OnDevice p(a), q(b);
      const Array<float> d(std::vector<float>(s.outputs(), 12345.f));
      const Array<std::uint8_t> workspace(std::vector<std::uint8_t>(s.workspace(), 0xA5));
      gpu::EmulatedGemm g{.a = p.expanded, .b = q.expanded, .d = d.data()};
      const gpu::TileList list = gpu::chain_gemm_sm90(g, workspace.data(), nullptr);
      const std::vector<bool> left = listed(list, s.m, s.n);
      CHECK(differing(d.values(), want, left) == 0);
      g.tiles = &list;
      gpu::emulated_gemm(g, nullptr);
      CHECK(differing(d.values(), want, std::vector<bool>(left.size())) == 0);
    }
}

TEST_CASE("which steps the GEMM by wgmma chains, splits and leaves") {
  if (!has_hopper("steps of the GEMM by wgmma")) return;
  constexpr unsigned long long all = 2 * 3 * 16 * 16;  // 256 x 256 tiles, 64 x 64 parts, steps
  for (const char* narrow : {"gaussian", "3 binades"}) {
    const Shares x = shares(narrow);
    CHECK(x.steps.chain == all);
    CHECK(x.left == 0);
  }
  const Shares wide = shares("7 binades");
  CHECK(wide.steps.split > all / 2);
  CHECK(wide.left == 0);
  CHECK(shares("any code").left == 3 * 5);
  CHECK(shares("few NaNs").left == 3 * 5);
}

TEST_CASE("alpha and BF16 of the GEMM by wgmma, in a graph") {
  if (!has_hopper("graph of the GEMM by wgmma")) return;
  for (const Shape s : {Shape{300, 520, 200}, {300, 333, 200}}) {
    const BlockScaledTensor a = gemm_cases::all()[0].make(s.m, s.k, 1),
                            b = gemm_cases::all()[0].make(s.n, s.k, 2);
    const OnDevice p(a), q(b);
    const Array<float> alpha(std::vector<float>{0.3f});
    const Array<std::uint16_t> d(s.outputs());
    const Array<std::uint8_t> workspace(s.workspace());
    cudaStream_t stream = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t ready = nullptr;
    gpu::check(cudaStreamCreate(&stream), "cudaStreamCreate");
    gpu::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    gpu::chain_gemm_sm90(
        {.a = p.expanded, .b = q.expanded, .d = d.data(), .out = Dtype::bf16, .alpha = alpha.data()},
        workspace.data(), stream);
    gpu::check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    gpu::check(cudaGraphInstantiate(&ready, graph, 0), "cudaGraphInstantiate");
    for (int launch = 0; launch < 2; ++launch) gpu::check(cudaGraphLaunch(ready, stream), "cudaGraphLaunch");
    gpu::check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    const Matrix want = converted(
        cpu_kernels().scale_output(cpu_kernels().multiply(a, b, model(), {}), {.alpha = 0.3f}).view(),
        Dtype::bf16, cpu_kernels());
    CHECK(d.values() == std::vector<std::uint16_t>(want.u16(), want.u16() + s.outputs()));
    cudaGraphExecDestroy(ready);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
  }
}

TEST_CASE("what the GEMM by wgmma refuses") {
  gpu::ExpandedOperand a{}, b{};
  a.rows = b.rows = 1, a.k = 64, b.k = 128;
  CHECK_THROWS_AS(gpu::chain_gemm_sm90({.a = a, .b = b}, nullptr, nullptr), std::invalid_argument);
  b.k = 64;
  CHECK_THROWS_AS(gpu::chain_gemm_sm90({.a = a, .b = b, .out = Dtype::fp16}, nullptr, nullptr),
                  std::invalid_argument);
  const gpu::TileList list{};
  CHECK_THROWS_AS(gpu::chain_gemm_sm90({.a = a, .b = b, .tiles = &list}, nullptr, nullptr),
                  std::invalid_argument);
}
