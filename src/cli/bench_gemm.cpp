#include "bench_gemm.hpp"

#include <cmath>
#include <functional>
#include <random>

#include "sgemm.hpp"

namespace nvfp4::cli {
namespace {

/// Gaussian numbers, quantized by te: block scales span three binades; five more where each 128th channel is 32 times as
/// large.
BlockScaledTensor gaussian(int n, std::uint64_t seed, bool hot_channels = false) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Matrix x(n, n);
  for (std::int64_t i = 0; i < std::int64_t{n} * n; ++i)
    x.f32()[i] = normal(random) * (hot_channels && i % n % 128 == 5 ? 32.f : 1.f);
  return cpu_kernels().quantize(x.view(), {}, {});
}

/// The same elements under scales of seven binades.
BlockScaledTensor wide(BlockScaledTensor x, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::uint8_t& scale : x.scales)
    scale = static_cast<std::uint8_t>((8 + random() % 7) * 8 | (scale & 7));
  return x;
}

/// The same elements, every finite scale alike.
BlockScaledTensor any(BlockScaledTensor x, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::uint8_t& scale : x.scales) scale = static_cast<std::uint8_t>(random() % 127);
  return x;
}

}  // namespace

GemmBench::GemmBench(int n) : n_(n) {
  const BlockScaledTensor a = gaussian(n, 1), b = gaussian(n, 2);
  kinds_ = {{"narrow", a, b},
            {"hot", gaussian(n, 1, true), b},
            {"wide", wide(a, 3), wide(b, 4)},
            {"any", any(a, 3), any(b, 4)}};
  a_ = cpu_kernels().dequantize(a), b_ = cpu_kernels().dequantize(b);
}

std::vector<Timed> GemmBench::time(int thread_count, int repetitions, Progress& progress) const {
  set_threads(thread_count);
  Matrix c(n_, n_);
  std::vector<Timed> rows;
  std::vector<std::function<void()>> work;
  const auto add = [&](std::string name, std::string limit, std::function<void()> run) {
    rows.push_back({std::move(name), std::move(limit), thread_count, {}, "GMAC/s"});
    work.push_back(std::move(run));
  };
  for (const Sgemm& peer : sgemms())
    add("sgemm/" + peer.name, "",
        [&, peer] { peer.multiply(n_, a_.f32(), b_.f32(), c.f32(), thread_count); });
  const std::string limit = work.empty() ? "" : "sgemm";
  const Accumulation& model = *find_accumulation("sm100_nvfp4");
  for (const Isa isa : {Isa::amx, Isa::avx512, Isa::avx2, Isa::portable})
    if (const Kernels* kernels = cpu_kernels(isa);
        kernels && (isa != Isa::portable || !cpu_kernels(Isa::avx2)))
      for (const Kind& kind : kinds_)
        add("gemm/" + kind.name + "/" + std::string(name(isa)), limit,
            [&, kernels] { c = kernels->multiply(kind.a, kind.b, model, std::move(c)); });
  for (int i = 0; i < repetitions; ++i) {
    progress.show(i, repetitions, "repetitions");
    for (std::size_t w = 0; w < work.size(); ++w)
      rows[w].rates.push_back(std::pow(n_, 3) * 1e-9 / seconds(work[w]));
  }
  return rows;
}

}  // namespace nvfp4::cli
