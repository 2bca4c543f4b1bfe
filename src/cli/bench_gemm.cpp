#include <cmath>
#include <random>

#include <nvfp4/kernels.hpp>

#include "bench.hpp"
#include "sgemm.hpp"

namespace nvfp4::cli {
namespace {

/// Gaussian numbers, quantized by te: block scales span three binades.
BlockScaledTensor narrow(int n, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> gaussian;
  Matrix x(n, n);
  for (std::int64_t i = 0; i < std::int64_t{n} * n; ++i) x.f32()[i] = gaussian(random);
  return cpu_kernels().quantize(x.view(), {}, {});
}

/// The same with each block's scale moved by up to 6 binades.
BlockScaledTensor wide(int n, std::uint64_t seed) {
  BlockScaledTensor x = narrow(n, seed);
  std::mt19937_64 random(seed + 1);
  for (std::uint8_t& scale : x.scales)
    scale = static_cast<std::uint8_t>((8 + random() % 7) * 8 | (scale & 7));
  return x;
}

/// Every finite block scale alike.
BlockScaledTensor any(int n, std::uint64_t seed) {
  BlockScaledTensor x = narrow(n, seed);
  std::mt19937_64 random(seed + 1);
  for (std::uint8_t& scale : x.scales) scale = static_cast<std::uint8_t>(random() % 127);
  return x;
}

struct Kind {
  std::string_view name;
  BlockScaledTensor a, b;
};

}  // namespace

std::vector<Timed> time_gemm(int n, int thread_count, int repetitions, Progress& progress) {
  set_threads(thread_count);
  const Kind kinds[] = {{"narrow", narrow(n, 1), narrow(n, 3)},
                        {"wide", wide(n, 1), wide(n, 3)},
                        {"any", any(n, 1), any(n, 3)}};
  const Matrix a = cpu_kernels().dequantize(kinds[0].a), b = cpu_kernels().dequantize(kinds[0].b);
  Matrix c(n, n);
  std::vector<Timed> rows;
  std::vector<std::function<void()>> work;
  const auto add = [&](std::string name, std::string limit, std::function<void()> run) {
    rows.push_back({std::move(name), std::move(limit), thread_count, {}, "GMAC/s"});
    work.push_back(std::move(run));
  };
  for (const Sgemm& peer : sgemms())
    add("sgemm/" + peer.name, "", [&, peer] { peer.multiply(n, a.f32(), b.f32(), c.f32(), thread_count); });
  const Accumulation& model = *find_accumulation("sm100_nvfp4");
  for (const Isa isa : {Isa::avx512, Isa::avx2, Isa::portable})
    if (const Kernels* kernels = cpu_kernels(isa); kernels && (isa != Isa::portable || work.size() <= 1))
      for (const Kind& kind : kinds)
        add("gemm/" + std::string(kind.name) + "/" + std::string(name(isa)), "sgemm",
            [&, kernels] { c = kernels->multiply(kind.a, kind.b, model); });
  for (int i = 0; i < repetitions; ++i) {
    progress.show(i, repetitions, "repetitions");
    for (std::size_t w = 0; w < work.size(); ++w)
      rows[w].rates.push_back(std::pow(n, 3) * 1e-9 / seconds(work[w]));
  }
  return rows;
}

}  // namespace nvfp4::cli
