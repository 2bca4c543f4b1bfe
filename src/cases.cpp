#include <nvfp4/cases.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <stdexcept>

#include <nvfp4/boundaries.hpp>

#include "inputs.hpp"

namespace nvfp4 {
namespace {

constexpr std::string_view pack_names[] = {"ties",   "zeros",     "subnormals", "saturation",
                                           "ragged", "nonfinite", "random",     "witnesses"};

Matrix filled(std::int64_t rows, std::int64_t cols, Dtype dtype,
              const std::function<float(std::int64_t, std::int64_t)>& value) {
  Matrix x(rows, cols, dtype);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < cols; ++j) put(x, i * cols + j, value(i, j));
  return x;
}

/// Collects the cases of one pack.
struct Pack {
  std::string name;
  Dtype dtype;
  std::vector<Case> cases;
  void add(const std::string& detail, std::int64_t rows, std::int64_t cols,
           const std::function<float(std::int64_t, std::int64_t)>& value) {
    cases.push_back({name + "/" + detail, filled(rows, cols, dtype, value)});
  }
};

constexpr float e2m1_midpoint[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5};

/// E2M1 midpoints times a power of two, one ulp below, on and above, both signs; the block holds its amax, so
/// a tensor amax of 2688 (or 6, 7, 12: the maxima at which orders of operations part) makes real ties.
void ties(Pack& pack) {
  for (const float amax : {2688.f, 6.f, 7.f, 12.f, 5.6875f})
    pack.add("e2m1_amax_" + std::to_string(static_cast<int>(amax)) + (amax == 5.6875f ? "_6875" : ""), 12, 64,
             [amax](std::int64_t i, std::int64_t j) {
               const float scale = std::ldexp(amax / 6, -static_cast<int>(i / 3 * 4 + j / 16));
               if (j % 16 == 0) return 6 * scale;
               const float middle = e2m1_midpoint[(j + i) % 7] * scale;
               const float towards = i % 3 == 0 ? 0 : i % 3 == 1 ? middle : INFINITY;
               const float x = std::nextafter(middle, towards);
               return j % 2 ? -x : x;
             });
  // Block maxima 6 * (midpoint of two E4M3 codes), one ulp to either side: the tie is in the block scale.
  pack.add("e4m3", 126, 48, [](std::int64_t i, std::int64_t j) {
    const auto code = static_cast<std::uint32_t>(i);
    const float low = std::bit_cast<float>(code << 20) * 0x1p120f,
                high = std::bit_cast<float>((code + 1) << 20) * 0x1p120f;
    if (i == 125) return j ? 1.f : 2688.f;
    const float middle = (low + high) / 2 * 6;
    const float towards = j / 16 == 0 ? 0 : j / 16 == 1 ? middle : INFINITY;
    return j % 16 == 0 ? std::nextafter(middle, towards) : middle * static_cast<float>(j % 16) / 16;
  });
  // BF16-valued data: E2M1 ties become common (one code in a thousand), and with amax 6 or 7 the scale ties do.
  for (const float amax : {6.f, 7.f})
    pack.add("bf16_values_amax_" + std::to_string(static_cast<int>(amax)), 32, 128,
             [amax](std::int64_t i, std::int64_t j) {
               if (i == 0 && j == 0) return amax;
               const auto hash = Random{static_cast<std::uint64_t>(i * 1000 + j)}.next();
               const float x = static_cast<float>(hash % 256) / 256 * amax;
               return std::bit_cast<float>(std::bit_cast<std::uint32_t>(hash & 256 ? x : -x) & 0xFFFF0000u);
             });
}

void zeros(Pack& pack) {
  pack.add("all", 16, 64, [](auto, auto) { return 0.f; });
  pack.add("all_negative", 16, 64, [](auto, auto) { return -0.f; });
  pack.add("blocks", 32, 96, [](std::int64_t i, std::int64_t j) {
    return (i / 4 + j / 16) % 2 ? (j % 2 ? -0.f : 0.f) : static_cast<float>(i - j);
  });
  pack.add("negative_underflow", 16, 64, [](std::int64_t i, std::int64_t j) {
    return j % 16 == 0 ? 6.f : -std::ldexp(1.f, -static_cast<int>(i + j % 16));
  });
}

void subnormals(Pack& pack) {
  pack.add("tensor", 16, 64, [](std::int64_t i, std::int64_t j) {
    return std::ldexp(static_cast<float>(j % 9 - 4), -149 + static_cast<int>(i));
  });
  pack.add("tensor_scale_overflow", 16, 64,
           [](std::int64_t i, std::int64_t j) {  // 2688 / amax is near FLT_MAX
             return std::ldexp(static_cast<float>(j % 16 - 8), -119 - static_cast<int>(i));
           });
  pack.add("block_scales", 64, 64, [](std::int64_t i, std::int64_t j) {  // 2^-11 .. 2^-6 after scaling
    if (i == 0) return 2688.f;
    const float amax = 6 * std::ldexp(static_cast<float>(i), -14);
    return (j % 2 ? -amax : amax) * static_cast<float>(j % 16 + 1) / 16;
  });
  pack.add("beside_large", 32, 64, [](std::int64_t i, std::int64_t j) {
    return i == 0 && j == 0 ? 1e30f : std::ldexp(static_cast<float>(j - 30), -static_cast<int>(4 * i));
  });
}

void saturation(Pack& pack) {
  pack.add("largest", 16, 64, [](std::int64_t i, std::int64_t j) {
    return (j % 2 ? -3.4028235e38f : 3.4028235e38f) / static_cast<float>(1 + (i * j) % 17);
  });
  pack.add("outlier", 16, 64, [](std::int64_t i, std::int64_t j) {
    return i == 3 && j == 17 ? 3e38f : static_cast<float>(i * 64 + j) - 500;
  });
  // Block amaxes a little above a tie of their scale, so that x / scale exceeds 6.
  pack.add("scale_rounds_down", 32, 64, [](std::int64_t i, std::int64_t j) {
    return i == 0 && j == 0
               ? 2688.f
               : 6 * (1 + static_cast<float>(i) / 512) * std::ldexp(1.f, static_cast<int>(j / 16) * -3);
  });
}

void ragged(Pack& pack) {
  constexpr std::int64_t shapes[][2] = {{1, 1},   {1, 15},  {1, 16},   {1, 17},  {2, 20},
                                        {15, 31}, {16, 33}, {17, 16},  {33, 48}, {100, 80},
                                        {3, 255}, {2, 272}, {18, 530}, {1, 4112}};
  for (const auto& [rows, cols] : shapes)
    pack.add(std::to_string(rows) + "x" + std::to_string(cols), rows, cols,
             [cols = cols](std::int64_t i, std::int64_t j) {
               return static_cast<float>(Random{static_cast<std::uint64_t>(i * cols + j)}.normal());
             });
}

void nonfinite(Pack& pack) {
  const auto ramp = [](std::int64_t i, std::int64_t j) {
    return static_cast<float>(i + 1) * static_cast<float>(j - 20) / 8;
  };
  const auto with = [&](const std::string& name,
                        std::function<float(std::int64_t, std::int64_t, float)> replace) {
    pack.add(name, 16, 64, [=](std::int64_t i, std::int64_t j) { return replace(i, j, ramp(i, j)); });
  };
  with("one_nan", [](auto i, auto j, float x) { return i == 5 && j == 37 ? NAN : x; });
  with("negative_nan", [](auto i, auto j, float x) { return i == 5 && j == 37 ? -NAN : x; });
  with("signalling_nan",
       [](auto i, auto j, float x) { return i == 2 && j == 3 ? std::bit_cast<float>(0x7FA00000u) : x; });
  with("nan_block", [](auto i, auto j, float x) { return i == 7 && j / 16 == 1 ? NAN : x; });
  with("all_nan", [](auto, auto, float) { return NAN; });
  with("infinity", [](auto i, auto j, float x) { return i == 0 && j == 63 ? INFINITY : x; });
  with("both_infinities", [](auto i, auto j, float x) {
    return i == 9 && j % 16 == 4 ? (j % 32 == 4 ? -INFINITY : INFINITY) : x;
  });
  with("infinity_and_nan", [](auto i, auto j, float x) {
    return i == 1 && j == 1 ? INFINITY : i == 1 && j == 2 ? NAN : x;
  });
}

void random(Pack& pack, std::uint64_t seed) {
  Random stream{seed};
  pack.add("normal", 64, 256, [&](auto, auto) { return static_cast<float>(stream.normal()); });
  pack.add("outlier_channels", 48, 128, [&](auto, std::int64_t j) {
    return static_cast<float>(stream.normal() * (j % 37 == 5 ? 300 : 1));
  });
  pack.add("wide_range", 32, 128, [&](auto, auto) {
    const int exponent = static_cast<int>(stream.next() % 41) - 20;
    return std::ldexp(static_cast<float>(stream.normal()), exponent);
  });
  pack.add("bit_patterns", 32, 128, [&](auto, auto) {
    const auto bits = static_cast<std::uint32_t>(stream.next());
    return std::bit_cast<float>((bits & 0x7F800000) == 0x7F800000 ? bits ^ 0x40000000 : bits);
  });
}

/// A row on each dialect's own boundaries, one matrix a tensor amax: the maxima at which orders of operations
/// part, those near the ends at which clamps and flushing do, and those that no scale is made from.
std::vector<Case> make_witnesses(Dtype dtype) {
  std::vector<Case> cases;
  for (const auto& [detail, amax] : {std::pair{"amax_2688", 2688.f},
                                     {"amax_6", 6.f},
                                     {"amax_7", 7.f},
                                     {"amax_12", 12.f},
                                     {"amax_pi", 0x1.921fb6p1f},
                                     {"amax_tiny", 0x1.234568p-120f},
                                     {"amax_subnormal", 0x1.5p-130f},
                                     {"amax_largest", 0x1.fffffep127f},
                                     {"amax_zero", 0.f},
                                     {"amax_infinite", INFINITY},
                                     {"amax_nan", NAN}}) {
    Case all{std::string("witnesses/") + detail, Matrix(0, 0, dtype)};
    for (const Dialect* dialect : all_dialects()) {
      const Matrix row = boundary_rows(default_spec(*dialect), dtype, amax, 1, index_of(*dialect));
      all.input.bytes.insert(all.input.bytes.end(), row.bytes.begin(), row.bytes.end());
      all.input.rows += row.rows;
      all.input.cols = row.cols;
    }
    cases.push_back(std::move(all));
  }
  return cases;
}

/// Made once: the search takes a tenth of a second.
template <Dtype dtype>
const std::vector<Case>& witnesses() {
  static const std::vector<Case> made = make_witnesses(dtype);
  return made;
}

}  // namespace

std::span<const std::string_view> case_packs() { return pack_names; }

std::vector<Case> make_cases(std::string_view name, Dtype dtype, std::uint64_t seed) {
  Pack pack{std::string(name), dtype, {}};
  if (name == "ties")
    ties(pack);
  else if (name == "zeros")
    zeros(pack);
  else if (name == "subnormals")
    subnormals(pack);
  else if (name == "saturation")
    saturation(pack);
  else if (name == "ragged")
    ragged(pack);
  else if (name == "nonfinite")
    nonfinite(pack);
  else if (name == "random")
    random(pack, seed);
  else if (name == "witnesses")
    pack.cases = dtype == Dtype::fp32   ? witnesses<Dtype::fp32>()
                 : dtype == Dtype::bf16 ? witnesses<Dtype::bf16>()
                                        : witnesses<Dtype::fp16>();
  else
    throw std::invalid_argument("no case pack " + pack.name);
  return std::move(pack.cases);
}

}  // namespace nvfp4
