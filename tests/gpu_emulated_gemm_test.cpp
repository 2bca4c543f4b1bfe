#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "gpu/emulated_gemm.hpp"
#include "gpu/expand.cuh"
#include "gpu/group_step.cuh"
#include "gpu/literal_gemm.hpp"
#include "gpu/step_class.cuh"
#include "tests/gpu.hpp"
#include "tests/gpu_gemm_cases.hpp"
#include "tests/gpu_operand.hpp"

using namespace nvfp4;
using gpu_array::Array;
using gpu_array::OnDevice;

/// The emulated GEMM against the CPU layer's sm100_nvfp4: its parts on the host, with the tensor cores' models in place of
/// the MMA, and its kernels on a GPU.
namespace {

const Accumulation& model() { return *find_accumulation("sm100_nvfp4"); }

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }
float value(std::uint64_t code) { return std::bit_cast<float>(static_cast<std::uint32_t>(code)); }

std::int64_t differing(const std::vector<float>& got, const Matrix& want) {
  std::int64_t n = 0;
  for (std::size_t i = 0; i < got.size(); ++i) n += bits(got[i]) != bits(want.f32()[i]);
  return n;
}

struct Block {
  std::uint64_t codes;
  unsigned scale;
};

/// Zero beyond the last.
Block block_at(const BlockScaledTensor& t, std::int64_t row, std::int64_t block) {
  if (row >= t.rows || block >= t.blocks_per_row()) return {0, 0};
  const auto at = static_cast<std::size_t>(row * t.blocks_per_row() + block);
  std::uint64_t codes = 0;
  for (std::size_t byte = 8; byte-- > 0;) codes = codes << 8 | t.codes[8 * at + byte];
  return {codes, t.scales[at]};
}

std::vector<float> literally(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < b.rows; ++j) {
      std::uint32_t c = 0;
      for (std::int64_t t = 0; t < gpu::steps_of(a.cols); ++t) {
        gpu::Group groups[4];
        for (std::int64_t g = 0; g < 4; ++g) {
          const Block x = block_at(a, i, 4 * t + g), y = block_at(b, j, 4 * t + g);
          groups[g] = gpu::group_of(x.codes, x.scale, y.codes, y.scale);
        }
        c = gpu::group_step(c, groups);
      }
      out.push_back(std::bit_cast<float>(c));
    }
  return out;
}

/// A step of 64 values of all rows, at most 128.
struct Step {
  std::vector<std::uint64_t> codes;  // BF16
  gpu::StepStats stats{0, gpu::no_unit, gpu::no_top};

  Step(const BlockScaledTensor& t, std::int64_t step) {
    for (std::int64_t i = 0; i < t.rows; ++i) {
      gpu::StepStats row{0, gpu::no_unit, gpu::no_top};
      for (std::int64_t g = 0; g < 4; ++g) {
        const Block x = block_at(t, i, 4 * step + g);
        for (const std::uint32_t pair : gpu::fold(x.codes, x.scale).pairs)
          codes.push_back(pair & 0xFFFF), codes.push_back(pair >> 16);
        const gpu::StepStats block = gpu::block_stats(x.codes, x.scale);
        row = {row.range + block.range, std::min(row.unit, block.unit), std::max(row.top, block.top)};
      }
      if (row.unit != gpu::no_unit) row.range = std::sqrt(row.range) * std::ldexp(1.f, -row.unit);
      stats = {std::max(stats.range, row.range), std::min(stats.unit, row.unit),
               std::max(stats.top, row.top)};
    }
  }
  std::vector<std::uint64_t> group(std::int64_t g) const {
    std::vector<std::uint64_t> part;
    for (std::size_t at = 0; at < codes.size(); ++at)
      if (static_cast<std::int64_t>(at) % 64 / 16 == g) part.push_back(codes[at]);
    return part;
  }
};

float toward_zero(float x, float y) {
  const float sum = x + y, rounded = sum - x, lost = (x - (sum - rounded)) + (y - rounded);
  return lost != 0 && (lost < 0) != (sum < 0) ? std::nextafter(sum, 0.f) : sum;
}

using Codes = std::vector<std::uint64_t>;

Codes mma(const Accumulation& cores, const Step& a, const Step& b, std::int64_t g, const Codes& c) {
  const Codes x = a.group(g), y = b.group(g);
  MmaOperands operands{.rows = static_cast<std::int64_t>(x.size() / 16),
                       .cols = static_cast<std::int64_t>(y.size() / 16),
                       .k = 16,
                       .a_format = Format::bf16,
                       .b_format = Format::bf16};
  operands.a = x, operands.b = y, operands.c = c;
  return cpu_kernels().mma(operands, cores, false);
}

void chain(const Accumulation& cores, const Step& a, const Step& b, Codes& c) {
  Codes sum(c.size());
  for (std::int64_t g = 0; g < 4; ++g) sum = mma(cores, a, b, g, sum);
  for (std::size_t n = 0; n < c.size(); ++n) c[n] = bits(toward_zero(value(c[n]), value(sum[n])));
}

void split(const Accumulation& cores, const Step& a, const Step& b, float origin, Codes& c) {
  Codes coarse(c.size());
  std::vector<float> fine(c.size());
  for (std::size_t n = 0; n < c.size(); ++n) {
    coarse[n] = bits(value(c[n]) + origin);
    fine[n] = value(c[n]) - (value(coarse[n]) - origin);
  }
  for (std::int64_t g = 0; g < 4; ++g) {
    const Codes next = mma(cores, a, b, g, coarse);
    Codes rest(c.size());
    for (std::size_t n = 0; n < c.size(); ++n) rest[n] = bits(value(coarse[n]) - value(next[n]));
    rest = mma(cores, a, b, g, rest);
    for (std::size_t n = 0; n < c.size(); ++n) fine[n] += value(rest[n]);
    coarse = next;
  }
  for (std::size_t n = 0; n < c.size(); ++n) c[n] = bits(toward_zero(value(coarse[n]) - origin, fine[n]));
}

/// Of the steps that are not literal. Every NaN counts as one.
void check_steps(const Accumulation& cores, const BlockScaledTensor& a, const BlockScaledTensor& b) {
  Codes c(static_cast<std::size_t>(a.rows * b.rows));
  int unit = gpu::no_unit;
  for (std::int64_t t = 0; t < gpu::steps_of(a.cols); ++t) {
    const Step x(a, t), y(b, t);
    const gpu::StepRule rule = gpu::step_rule(x.stats, y.stats, unit);
    unit = rule.unit;
    float largest = 0;
    for (const std::uint64_t code : c) largest = std::fmax(largest, std::fabs(value(code)));
    std::vector<float> want;
    for (std::size_t n = 0; n < c.size(); ++n) {
      gpu::Group groups[4];
      for (std::int64_t g = 0; g < 4; ++g) {
        const auto rows = static_cast<std::size_t>(b.rows);
        const Block u = block_at(a, static_cast<std::int64_t>(n / rows), 4 * t + g),
                    v = block_at(b, static_cast<std::int64_t>(n % rows), 4 * t + g);
        groups[g] = gpu::group_of(u.codes, u.scale, v.codes, v.scale);
      }
      const float before = value(c[n]) * 0x1p28f;
      want.push_back(value(gpu::group_step(std::isnan(before) ? gpu::nan_code : bits(before), groups)) *
                     0x1p-28f);
    }
    if (rule.step_class == gpu::StepClass::literal || !(largest < rule.limit)) {
      for (std::size_t n = 0; n < c.size(); ++n) c[n] = bits(want[n]);
      continue;
    }
    rule.step_class == gpu::StepClass::chain ? chain(cores, x, y, c)
                                             : split(cores, x, y, gpu::coarse_origin(rule.unit), c);
    std::int64_t wrong = 0;
    for (std::size_t n = 0; n < c.size(); ++n)
      wrong += std::isnan(want[n]) ? !std::isnan(value(c[n])) : c[n] != bits(want[n]);
    CHECK(wrong == 0);
  }
}

}  // namespace

TEST_CASE("the literal step, on the host, is that of the CPU's model") {
  for (const gemm_cases::Case& x : gemm_cases::all()) {
    CAPTURE(x.what);
    const BlockScaledTensor a = x.make(19, 1000, 1), b = x.make(23, 1000, 2);
    CHECK(differing(literally(a, b), cpu_kernels().multiply(a, b, model(), {})) == 0);
  }
}

TEST_CASE("a folded value is element * scale * 2^-14, of every code and scale") {
  for (unsigned scale = 0; scale < 256; ++scale) {
    const gpu::Folded folded = gpu::fold(0xFEDCBA9876543210, scale);
    for (unsigned code = 0; code < 16; ++code) {
      const float got = value((folded.pairs[code / 2] >> (code % 2 * 16) & 0xFFFF) << 16);
      std::uint32_t both[] = {code, scale & 0x7F};
      float element = 0, factor = 0;
      cpu_kernels().decode({&both[0], 1}, Format::e2m1, {&element, 1});
      cpu_kernels().decode({&both[1], 1}, Format::ue4m3, {&factor, 1});
      if ((scale & 0x7F) == 0x7F)
        CHECK(std::isnan(got));
      else
        CHECK(got == element * factor * 0x1p-14f);
    }
  }
}

TEST_CASE("chain and split, of tensor cores by their models") {
  for (const char* cores : {"sm80_bf16", "sm90_bf16", "sm100_bf16"})
    for (const gemm_cases::Case& x : gemm_cases::all()) {
      CAPTURE(cores);
      CAPTURE(x.what);
      check_steps(*find_accumulation(cores), x.make(33, 1000, 3), x.make(40, 1000, 4));
    }
}

TEST_CASE("codes beyond the last column of K count for nothing") {
  CHECK(gpu::codes_mask(704, 43) == ~std::uint64_t{0});
  CHECK(gpu::codes_mask(703, 43) == 0x0FFFFFFFFFFFFFFF);
  CHECK(gpu::codes_mask(689, 43) == 0xF);
  CHECK(gpu::codes_mask(700, 42) == ~std::uint64_t{0});
}

TEST_CASE("the emulated and the literal kernel are the CPU's model") {
  if (gpu_layer::is_missing()) return;
  struct Shape {
    std::int64_t m, n, k;
  };
  for (const gemm_cases::Case& x : gemm_cases::all())
    for (const Shape s :
         {Shape{1, 1, 1}, {1, 130, 64}, {257, 130, 1000}, {129, 511, 2049}, {512, 384, 4096}}) {
      CAPTURE(x.what);
      const BlockScaledTensor a = x.make(s.m, s.k, 1), b = x.make(s.n, s.k, 2);
      const Matrix want = cpu_kernels().multiply(a, b, model(), {});
      OnDevice p(a), q(b);
      Array<float> d(static_cast<std::size_t>(s.m * s.n));
      gpu::literal_gemm(p.coded, q.coded, d.data(), nullptr);
      CHECK(differing(d.values(), want) == 0);
      Array<gpu::StepCounts> counts(1);
      gpu::emulated_gemm({.a = p.expanded, .b = q.expanded, .d = d.data(), .counts = counts.data()}, nullptr);
      CHECK(differing(d.values(), want) == 0);
      const gpu::StepCounts n = counts.values()[0];
      CHECK(
          n.chain + n.split + n.literal ==
          static_cast<unsigned long long>(4 * gpu::tiles_of(s.m) * gpu::tiles_of(s.n) * gpu::steps_of(s.k)));
    }
}

TEST_CASE("alpha, BF16 and a list of tiles") {
  if (gpu_layer::is_missing()) return;
  const gemm_cases::MakeBlock blocks = gemm_cases::few_nans(gemm_cases::binades(2, 3));
  const BlockScaledTensor a = gemm_cases::tensor(300, 200, 1, blocks),
                          b = gemm_cases::tensor(333, 200, 2, blocks);
  OnDevice p(a), q(b);
  const std::size_t size = 300 * 333;
  const Array<float> alpha(std::vector<float>{0.3f});
  const Matrix want = cpu_kernels().scale_output(cpu_kernels().multiply(a, b, model(), {}), {.alpha = 0.3f});

  Array<std::uint32_t> tiles(std::vector<std::uint32_t>{8, 2, 4}), count(std::vector<std::uint32_t>{2});
  const gpu::TileList list{tiles.data(), count.data()};
  Array<float> d(size);
  gpu::EmulatedGemm g{.a = p.expanded, .b = q.expanded, .d = d.data(), .alpha = alpha.data(), .tiles = &list};
  gpu::emulated_gemm(g, nullptr);
  const std::vector<float> got = d.values();
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t tile = i / 333 / 128 * 3 + i % 333 / 128;
    wrong += bits(got[i]) != (tile == 8 || tile == 2 ? bits(want.f32()[i]) : 0);
  }
  CHECK(wrong == 0);

  Array<std::uint16_t> narrow(size);
  g.tiles = nullptr, g.d = narrow.data(), g.out = Dtype::bf16;
  gpu::emulated_gemm(g, nullptr);
  const Matrix rounded = converted(want.view(), Dtype::bf16, cpu_kernels());
  CHECK(narrow.values() == std::vector<std::uint16_t>(rounded.u16(), rounded.u16() + size));
}
