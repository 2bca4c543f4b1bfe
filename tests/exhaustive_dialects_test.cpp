// nvfp4_exhaustive_dialects [--full]: each instruction set's quantizer against the reference's on all FP32
// patterns up to 7: as elements of blocks whose amax is 7, and as block amaxes. Both are staircases, because a
// code never falls as its number grows; the reference's steps are found by bisection. By default te alone;
// --full takes every dialect's elements, and its block scales where they have a rounding of their own.
#include <bit>
#include <cstring>
#include <functional>

#include <nvfp4/kernels.hpp>

#include "tests/sweep.hpp"

using namespace nvfp4;
using testing::Differences;

namespace {

constexpr float amax = 7;
constexpr std::uint32_t sign_bit = 0x80000000;

using Quantize = std::function<BlockScaledTensor(const Matrix&)>;

/// What a layer makes of numbers in some place of a block.
struct Place {
  const char* name;
  int numbers_a_block;
  bool both_signs;
  void (*put)(Matrix& x, const Dialect&, std::span<const float> values);
  std::uint32_t (*code)(const BlockScaledTensor&, std::size_t value);
};

/// Each block's amax and then values.
void put_elements(Matrix& x, const Dialect& d, std::span<const float> values) {
  float* out = x.f32();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % static_cast<std::size_t>(d.block_cols - 1) == 0) *out++ = amax;
    *out++ = values[i];
  }
}

std::uint32_t element_code(const BlockScaledTensor& t, std::size_t i) {
  const std::size_t at = i + i / static_cast<std::size_t>(t.spec.block.cols - 1) + 1;
  if (info(t.spec.dialect->element).bits == 8) return t.codes[at];
  return t.codes[at / 2] >> (at % 2 * 4) & 15u;
}

/// Each block's one number; a last block has the tensor's amax.
void put_block_amaxes(Matrix& x, const Dialect& d, std::span<const float> values) {
  for (std::size_t i = 0; i < values.size(); ++i)
    x.f32()[i * static_cast<std::size_t>(d.block_cols)] = values[i];
  x.f32()[values.size() * static_cast<std::size_t>(d.block_cols)] = amax;
}

std::uint32_t scale_code(const BlockScaledTensor& t, std::size_t i) { return t.scales[i]; }

Place elements(const Dialect& d) { return {"elements", d.block_cols - 1, true, put_elements, element_code}; }
constexpr Place block_amaxes{"block scales", 1, false, put_block_amaxes, scale_code};

void encode(const Quantize& quantize, const Dialect& d, const Place& place, std::span<const float> values,
            std::span<std::uint32_t> codes) {
  const auto each = static_cast<std::size_t>(place.numbers_a_block);
  const std::size_t blocks = values.size() / each + 1;
  Matrix x(1, static_cast<std::int64_t>(blocks) * d.block_cols);
  place.put(x, d, values);
  const BlockScaledTensor made = quantize(x);
  for (std::size_t i = 0; i < values.size(); ++i) codes[i] = place.code(made, i);
}

/// The reference's steps from one pattern to another, whose codes are known.
void add_steps(const std::function<std::uint32_t(std::uint32_t)>& code_of, testing::Step low,
               testing::Step high, std::vector<testing::Step>& steps) {
  if (low.code == high.code) return;
  if (low.first + 1 == high.first) {
    steps.push_back(high);
    return;
  }
  const std::uint32_t middle = low.first + (high.first - low.first) / 2;
  const testing::Step between{middle, code_of(middle)};
  add_steps(code_of, low, between, steps);
  add_steps(code_of, between, high, steps);
}

std::vector<testing::Step> staircase(const Dialect& d, const Place& place, std::uint32_t sign) {
  const auto code_of = [&](std::uint32_t pattern) {
    const float value = std::bit_cast<float>(pattern);
    std::uint32_t code;
    const auto reference = [&](const Matrix& x) {
      return reference_kernels().quantize(x.view(), default_spec(d), {});
    };
    encode(reference, d, place, {&value, 1}, {&code, 1});
    return code;
  };
  const std::uint32_t first = sign, last = sign | std::bit_cast<std::uint32_t>(amax);
  std::vector<testing::Step> steps{{first, code_of(first)}};
  add_steps(code_of, steps[0], {last, code_of(last)}, steps);
  return steps;
}

Differences compare(const Dialect& d, const Place& place, const Kernels& kernels) {
  const auto quantize = [&](const Matrix& x) { return kernels.quantize(x.view(), default_spec(d), {}); };
  Differences found;
  for (const std::uint32_t sign : {0u, sign_bit})
    if (sign == 0 || place.both_signs) {
      const std::vector<testing::Step> steps = staircase(d, place, sign);
      const auto chunks =
          static_cast<std::int64_t>(std::bit_cast<std::uint32_t>(amax) >> testing::chunk_bits);
      found.add(testing::sweep(
          steps, [&](auto values, auto codes) { encode(quantize, d, place, values, codes); },
          sign >> testing::chunk_bits, chunks));
    }
  return found;
}

/// The four-over-six dialects choose a block's scale by all of its elements.
bool codes_are_staircases(const Dialect& d) {
  const std::string_view name = d.name;
  return !d.four_over_six && name != "quartet2_4over6" &&
         (!name.starts_with("fouroversix") || name.starts_with("fouroversix_static"));
}

bool has_its_own_scale_rounding(const Dialect& d) {
  using namespace dialects;
  for (const Dialect* own :
       {&te::info, &cudnn::info, &ggml::info, &mxfp4_floor::info, &mxfp4_ceil::info, &mxfp4_nearest::info})
    if (own == &d) return true;
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  const bool full = argc == 2 && std::strcmp(argv[1], "--full") == 0;
  if (argc > 1 && !full) return std::fprintf(stderr, "usage: nvfp4_exhaustive_dialects [--full]\n"), 2;
  testing::SweepLog log;
  for (const Dialect* d : all_dialects())
    for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512}) {
      const Kernels* kernels = cpu_kernels(isa);
      if (!kernels || !codes_are_staircases(*d) || !(full || d == &dialects::te::info)) continue;
      const std::string what = std::string(d->name) + ", " + std::string(name(isa)) + ", ";
      const auto run = [&](const Place& place) {
        log.record(what + place.name, compare(*d, place, *kernels), "equal on all patterns up to 7");
      };
      run(elements(*d));
      if (full && has_its_own_scale_rounding(*d)) run(block_amaxes);
    }
  return log.finish();
}
