// nvfp4_exhaustive [--full]: the CPU layer's encoders against the reference's exact thresholds on all 2^32
// FP32 patterns. By default the six most used encodings; --full takes every one.
#include <cstring>

#include <nvfp4/kernels.hpp>

#include "tests/sweep.hpp"

using namespace nvfp4;

namespace {

constexpr Encoding most_used[] = {
    {Format::e2m1, Rounding::nearest_even, Overflow::saturate, Target::cuda},
    {Format::e4m3, Rounding::nearest_even, Overflow::saturate, Target::cuda},
    {Format::e4m3, Rounding::nearest_even, Overflow::special, Target::ml_dtypes},
    {Format::e8m0, Rounding::up, Overflow::saturate, Target::cuda},
    {Format::bf16, Rounding::nearest_even, Overflow::special, Target::cuda},
    {Format::fp16, Rounding::nearest_even, Overflow::special, Target::cuda},
};

}  // namespace

int main(int argc, char** argv) {
  const bool full = argc == 2 && std::strcmp(argv[1], "--full") == 0;
  if (argc > 1 && !full) return std::fprintf(stderr, "usage: nvfp4_exhaustive [--full]\n"), 2;
  const std::vector<Encoding> encodings =
      full ? testing::every_encoding() : std::vector<Encoding>(std::begin(most_used), std::end(most_used));
  testing::SweepLog log;
  std::size_t done = 0;
  for (const Encoding& e : encodings) {
    const std::string count = std::to_string(++done) + '/' + std::to_string(encodings.size()) + ' ';
    log.run(count + testing::describe(e), reference::staircase(e),
            [&](auto values, auto codes) { cpu_kernels().encode(values, e, codes); });
  }
  return log.finish();
}
