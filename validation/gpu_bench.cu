// What the GPU's kernels reach beside a device copy and beside cuBLAS, all in one run:
//   gpu_bench [quantize] [gemm]
// A copy's and a quantizer's rate counts bytes read and written, the amax pass in its time but not its bytes. Medians of
// 15 runs by events. cuBLAS is taken from libcublas.so.13 or .12 where the loader finds one.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string_view>
#include <vector>

#include <nvfp4/dialects/te.hpp>
#include <nvfp4/hadamard.hpp>

#include "gpu/amax.hpp"
#include "gpu/check.hpp"
#include "gpu/gemm.hpp"
#include "gpu/memory.hpp"
#include "gpu/quantize_both.hpp"
#include "gpu/quantize_rows.hpp"

using namespace nvfp4;
using gpu::check;
using gpu::DeviceArray;

namespace {

/// Four hashes of the index: near enough to normal deviates, and never zeros.
__global__ void fill_normal(std::uint16_t* x, std::int64_t n, std::uint32_t seed) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float sum = -2;
  for (std::uint32_t k = 0; k < 4; ++k) {
    auto h = static_cast<std::uint32_t>(i) * 2654435761u + (seed + k) * 0x9E3779B9u +
             static_cast<std::uint32_t>(i >> 32);
    h ^= h >> 16, h *= 0x85EBCA6Bu, h ^= h >> 13, h *= 0xC2B2AE35u, h ^= h >> 16;
    sum += static_cast<float>(h >> 8) * 0x1p-24f;
  }
  x[i] = static_cast<std::uint16_t>(__float_as_uint(sum * 1.7320508f) >> 16);
}

/// Block scales of seven binades: no step of K is narrow.
__global__ void spread_scales(std::uint8_t* scales, std::int64_t n) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n)
    scales[i] = static_cast<std::uint8_t>(0x20 + static_cast<std::uint32_t>(i * 2654435761u >> 16) % 56);
}

unsigned blocks(std::int64_t n) { return static_cast<unsigned>((n + 255) / 256); }

/// Median milliseconds.
double time_of(const std::function<void()>& run) {
  cudaEvent_t from{}, to{};
  check(cudaEventCreate(&from), "event");
  check(cudaEventCreate(&to), "event");
  std::vector<float> ms(15);
  for (int i = 0; i < 3; ++i) run();
  for (float& t : ms) {
    check(cudaEventRecord(from), "event");
    run();
    check(cudaEventRecord(to), "event");
    check(cudaEventSynchronize(to), "event");
    check(cudaEventElapsedTime(&t, from, to), "event");
  }
  check(cudaEventDestroy(from), "event");
  check(cudaEventDestroy(to), "event");
  std::ranges::nth_element(ms, ms.begin() + 7);
  return ms[7];
}

struct Quantized {
  DeviceArray<std::uint8_t> codes, scales;
  DeviceArray<float> global;
  Quantized(std::int64_t rows, std::int64_t cols)
      : codes(static_cast<std::size_t>(rows * cols / 2)),
        scales(static_cast<std::size_t>(rows * cols / 16)),
        global(1) {}
  gpu::TensorParts parts() const { return {codes.data(), scales.data(), global.data()}; }
};

DeviceArray<std::uint16_t> normal(std::int64_t n, std::uint32_t seed) {
  DeviceArray<std::uint16_t> x(static_cast<std::size_t>(n));
  fill_normal<<<blocks(n), 256>>>(x.data(), n, seed);
  gpu::check_launch("fill_normal");
  return x;
}

void bench_quantize(std::int64_t size) {
  const std::int64_t n = size * size;
  const DeviceArray<std::uint16_t> data = normal(n, 1), other(static_cast<std::size_t>(n));
  const MatrixView x{data.data(), size, size, Dtype::bf16};
  const DeviceArray<float> amaxes(2);
  const Quantized rows(size, size), columns(size, size);
  const QuantizeSpec plain{}, fused{.dialect = &dialects::te_rht_fused::info},
      sr_rows{.dialect = &dialects::te_rht_fused::info, .stochastic = Stochastic{.random = {.seed = 1}}},
      sr_columns{.dialect = &dialects::te_rht_fused::info,
                 .stochastic = Stochastic{.random = {.seed = 1, .stream = 1}}};
  const double copy =
      static_cast<double>(4 * n) / time_of([&] {
        check(cudaMemcpyAsync(other.data(), data.data(), data.bytes(), cudaMemcpyDeviceToDevice), "copy");
      });
  std::printf("copy of %lld squared BF16: %.0f GB/s\n", static_cast<long long>(size), copy / 1e6);
  const auto line = [&](const char* name, double bytes, const std::function<void()>& run) {
    const double ms = time_of(run);
    std::printf("  %-44s %8.1f us %6.0f GB/s  %.3f of the copy\n", name, ms * 1e3, bytes / ms / 1e6,
                bytes / ms / copy);
  };
  const auto count = static_cast<double>(n);
  const gpu::Direction row{plain, amaxes.data(), rows.parts()}, column{plain, amaxes.data(), columns.parts()};
  line("amax, te rows", 2 * 2 * count + 0.5625 * count, [&] {
    gpu::tensor_amax(x, amaxes.data(), nullptr);
    gpu::quantize_rows(x, plain, amaxes.data(), rows.parts(), ScaleLayout::linear, nullptr);
  });
  line("amax, te rows and columns", 2 * 2 * count + 2 * 0.5625 * count, [&] {
    gpu::tensor_amax(x, amaxes.data(), nullptr);
    gpu::quantize_both(x, row, column, ScaleLayout::linear, {}, nullptr);
  });
  const auto transformed = [&](const QuantizeSpec& r, const QuantizeSpec& c) {
    gpu::transformed_amax(x, te_sign_mask, amaxes.data(), amaxes.data() + 1, nullptr);
    gpu::quantize_both(x, {r, amaxes.data(), rows.parts()}, {c, amaxes.data() + 1, columns.parts()},
                       ScaleLayout::linear, te_sign_mask, nullptr);
  };
  line("RHT amax, rows and RHT columns", 2 * 2 * count + 2 * 0.5625 * count,
       [&] { transformed(fused, fused); });
  line("RHT amax, rows and RHT columns, SR in both", 2 * 2 * count + 2 * 0.5625 * count,
       [&] { transformed(sr_rows, sr_columns); });
}

/// cublasGemmEx of BF16 with FP32 sums, as the library exports it.
class Cublas {
 public:
  Cublas() {
    void* library = dlopen("libcublas.so.13", RTLD_NOW);
    if (!library) library = dlopen("libcublas.so.12", RTLD_NOW);
    if (!library) return;
    const auto create = reinterpret_cast<int (*)(void**)>(dlsym(library, "cublasCreate_v2"));
    if (create && create(&handle_) == 0)
      multiply_ = reinterpret_cast<Multiply>(dlsym(library, "cublasGemmEx"));
  }
  bool is_here() const { return multiply_ != nullptr; }
  /// d (m x n) = a (m x k) * transpose(b): in the library's column-major terms transpose(b) * a.
  void multiply(int m, int n, int k, const void* a, const void* b, void* d) const {
    constexpr int transposed = 1, plain = 0, bf16 = 14, compute_fp32 = 68, default_algorithm = -1;
    const float one = 1, zero = 0;
    if (multiply_(handle_, transposed, plain, n, m, k, &one, b, bf16, k, a, bf16, k, &zero, d, bf16, n,
                  compute_fp32, default_algorithm))
      throw std::runtime_error("cublasGemmEx failed");
  }

 private:
  using Multiply = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*,
                           int, int, const void*, void*, int, int, int, int);
  void* handle_ = nullptr;
  Multiply multiply_ = nullptr;
};

void print_gemm(const char* name, std::int64_t size, double ms, double cublas_ms,
                const gpu::StepCounts& counts) {
  const double all = static_cast<double>(counts.chain + counts.split + counts.literal);
  std::printf("  %-28s %8.3f ms %5.0f TFLOP/s", name, ms,
              2e-9 * static_cast<double>(size * size * size) / ms);
  if (cublas_ms > 0) std::printf("  %.3f of cuBLAS BF16", cublas_ms / ms);
  std::printf("  steps: chain %.1f %%, split %.1f %%, literal %.1f %%\n",
              100 * static_cast<double>(counts.chain) / all, 100 * static_cast<double>(counts.split) / all,
              100 * static_cast<double>(counts.literal) / all);
}

/// Of one run.
gpu::StepCounts counted(gpu::Gemm g, void* workspace, gpu::Engine engine) {
  const DeviceArray<gpu::StepCounts> counts(1);
  counts.clear();
  g.counts = counts.data();
  gpu::gemm(g, engine, workspace, nullptr);
  gpu::StepCounts found{};
  counts.copy_to({&found, 1});
  return found;
}

void bench_gemm(std::int64_t size, const Cublas& cublas) {
  const std::int64_t n = size * size;
  const DeviceArray<std::uint16_t> a = normal(n, 1), b = normal(n, 5), d(static_cast<std::size_t>(n));
  const Quantized qa(size, size), qb(size, size);
  const DeviceArray<float> amax(1);
  for (const auto& [from, to] : {std::pair(&a, &qa), std::pair(&b, &qb)}) {
    const MatrixView x{from->data(), size, size, Dtype::bf16};
    gpu::tensor_amax(x, amax.data(), nullptr);
    gpu::quantize_rows(x, {}, amax.data(), to->parts(), ScaleLayout::linear, nullptr);
  }
  const auto edge = static_cast<int>(size);
  const double peer = cublas.is_here()
                          ? time_of([&] { cublas.multiply(edge, edge, edge, a.data(), b.data(), d.data()); })
                          : 0;
  std::printf("%lld cubed, operand expansion in the time; cuBLAS BF16: ", static_cast<long long>(size));
  if (peer > 0)
    std::printf("%.3f ms %.0f TFLOP/s\n", peer, 2e-9 * static_cast<double>(n * size) / peer);
  else
    std::printf("not run: no libcublas\n");
  const DeviceArray<std::byte> workspace(static_cast<std::size_t>(gpu::gemm_bytes(size, size, size)));
  const gpu::Gemm g{.a = {qa.codes.data(), qa.scales.data(), size, size},
                    .b = {qb.codes.data(), qb.scales.data(), size, size},
                    .d = d.data(),
                    .out = Dtype::bf16};
  const auto line = [&](const char* name, gpu::Engine engine) {
    const double ms = time_of([&] { gpu::gemm(g, engine, workspace.data(), nullptr); });
    print_gemm(name, size, ms, peer, counted(g, workspace.data(), engine));
  };
  if (gpu::is_native(g)) line("normal data, FP4 tensor cores", gpu::Engine::native);
  line("normal data", gpu::Engine::emulated);
  line("normal data, mma.sync alone", gpu::Engine::mma_sync);
  for (const Quantized* q : {&qa, &qb}) {
    spread_scales<<<blocks(n / 16), 256>>>(q->scales.data(), n / 16);
    gpu::check_launch("spread_scales");
  }
  line("scales of 7 binades", gpu::Engine::emulated);
  line("the same, mma.sync alone", gpu::Engine::mma_sync);
}

}  // namespace

int main(int argc, char** argv) {
  const auto asked = [&](std::string_view what) {
    return argc == 1 || std::any_of(argv + 1, argv + argc, [&](const char* word) { return word == what; });
  };
  try {
    cudaDeviceProp device{};
    check(cudaGetDeviceProperties(&device, 0), "device");
    std::printf("%s, %d multiprocessors\n", device.name, device.multiProcessorCount);
    for (const std::int64_t size : {8192, 16384})
      if (asked("quantize")) bench_quantize(size);
    const Cublas cublas;
    for (const std::int64_t size : {4096, 8192})
      if (asked("gemm")) bench_gemm(size, cublas);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "gpu_bench: %s\n", e.what());
    return 2;
  }
}
