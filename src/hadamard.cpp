#include "hadamard.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <span>

#include <nvfp4/kernels.hpp>

#include "accumulator.hpp"
#include "float_environment.hpp"
#include "formats.hpp"
#include "wide_sum.hpp"

namespace nvfp4::cpu {
namespace {

/// diag(sign) H c.
struct Entries {
  SignWords signs;
  float c;
  float operator()(std::size_t k, int j) const { return is_negative(signs, static_cast<int>(k), j) ? -c : c; }
};

float fma_chain(std::span<const float> x, const Entries& h, int j) {
  float sum = 0;
  for (std::size_t k = 0; k < x.size(); ++k) sum = std::fma(x[k], h(k, j), sum);
  return sum;
}

constexpr Target truncated = target(Conversion::rz_fp32);

Accumulator unpack(float x) { return cpu::unpack(std::bit_cast<std::uint32_t>(x), truncated); }

/// The terms that are Inf or NaN; 0 if there are none.
float special_sum(std::span<const float> x, const Entries& h, std::size_t first, int j) {
  float sum = 0;
  for (std::size_t k = 0; k < x.size(); ++k)
    if (!std::isfinite(x[k])) sum += x[k] * h(first + k, j);
  return sum;
}

/// One step of the tensor core (tensorcore.md 7): alignment to the largest exponent, 25 fraction bits, truncation.
float tensor_core_step(std::span<const float> x, const Entries& h, std::size_t first, int j, float so_far) {
  constexpr int fraction_bits = 25, zero_exponent = -133;
  float special = special_sum(x, h, first, j);
  if (!std::isfinite(so_far)) special += so_far;
  if (special != 0) return special;  // Inf, or NaN, which equals nothing
  const Accumulator c = unpack(h.c), before = unpack(so_far);
  int top = so_far == 0 ? zero_exponent : before.exponent;
  for (const float element : x)
    if (element != 0) top = std::max(top, unpack(element).exponent + c.exponent);
  const int unit = top - fraction_bits;
  const auto cut = [&](std::int64_t significand, int lowest) {
    const std::int64_t kept = shifted(std::abs(significand), unit - lowest, false);
    return significand < 0 ? -kept : kept;
  };
  std::int64_t sum = cut(before.significand, before.exponent - 23);
  for (std::size_t k = 0; k < x.size(); ++k) {
    const Accumulator u = unpack(x[k]);
    const std::int64_t product = u.significand * c.significand;
    sum += cut(h(first + k, j) < 0 ? -product : product, u.exponent + c.exponent - 46);
  }
  return std::bit_cast<float>(finish(sum, unit, truncated));
}

float tensor_core(std::span<const float> x, const Entries& h, int j) {
  float sum = 0;
  for (std::size_t first = 0; first < x.size(); first += 16)
    sum = tensor_core_step(x.subspan(first, std::min<std::size_t>(16, x.size() - first)), h, first, j, sum);
  return sum;
}

/// What is negative and rounds to zero is -0; an exact zero is +0.
float exact_sum(std::span<const float> x, const Entries& h, int j) {
  if (const float special = special_sum(x, h, 0, j); special != 0) return special;
  WideSum sum;
  for (std::size_t k = 0; k < x.size(); ++k) sum.add(double{x[k]} * h(k, j));
  const std::uint32_t code = sum.to_fp32();
  return code == 0 && sum.is_negative() ? -0.f : std::bit_cast<float>(code);
}

float output(std::span<const float> x, const Entries& entries, HadamardSum sum, int j) {
  switch (sum) {
    case HadamardSum::fma_chain: return fma_chain(x, entries, j);
    case HadamardSum::tensor_core: return tensor_core(x, entries, j);
    case HadamardSum::exact: return exact_sum(x, entries, j);
  }
  return 0;
}

Format format_of(Dtype dtype) { return dtype == Dtype::bf16 ? Format::bf16 : Format::fp16; }

/// The numbers that are summed together: `stride` elements apart.
struct Group {
  std::int64_t first, stride;
};

void load(MatrixView x, Group group, std::span<float> values) {
  std::array<std::uint32_t, 128> codes;
  for (std::size_t k = 0; k < values.size(); ++k) {
    const std::int64_t i = group.first + static_cast<std::int64_t>(k) * group.stride;
    if (x.dtype == Dtype::fp32)
      values[k] = static_cast<const float*>(x.data)[i];
    else
      codes[k] = static_cast<const std::uint16_t*>(x.data)[i];
  }
  if (x.dtype != Dtype::fp32) decode({codes.data(), values.size()}, format_of(x.dtype), values);
}

/// Rounded to the element type; every NaN as its default one.
void store(std::span<float> values, Matrix& out, Group group) {
  std::array<std::uint32_t, 128> codes;
  for (float& y : values)
    if (std::isnan(y)) y = std::bit_cast<float>(0x7FC00000u);
  if (out.dtype != Dtype::fp32)
    encode(values,
           {.format = format_of(out.dtype), .overflow = Overflow::special, .target = nvfp4::Target::torch},
           {codes.data(), values.size()});
  for (std::size_t k = 0; k < values.size(); ++k) {
    const std::int64_t i = group.first + static_cast<std::int64_t>(k) * group.stride;
    if (out.dtype == Dtype::fp32)
      out.f32()[i] = values[k];
    else
      out.u16()[i] = static_cast<std::uint16_t>(codes[k]);
  }
}

void transform(MatrixView x, const Hadamard& h, const Entries& entries, Group group, Matrix& out) {
  std::array<float, 128> in, sums;
  const std::span values(in.data(), static_cast<std::size_t>(h.size));
  load(x, group, values);
  for (int j = 0; j < h.size; ++j) sums[static_cast<std::size_t>(j)] = output(values, entries, h.sum, j);
  store({sums.data(), values.size()}, out, group);
}

/// The matrix at work: groups side by side, along tokens by columns and along rows by rows.
struct Work {
  MatrixView x;
  const Hadamard& h;
  const isa::Table& isa;
  Matrix& out;
  Entries entries{sign_words(h), hadamard_entry(h.size, x.dtype)};
  Entries16 matrix{h, x.dtype};  ///< where the size is 16

  bool by_row() const { return h.along == Along::row; }
  std::int64_t side_by_side() const { return by_row() ? x.rows : x.cols; }
  std::int64_t strips() const { return (side_by_side() + isa::transform_cols - 1) / isa::transform_cols; }
  std::int64_t tasks() const { return strips() * ((by_row() ? x.cols : x.rows) / h.size); }

  /// The first of up to 64 groups.
  struct Strip {
    std::int64_t first, groups;
  };
  Strip strip(std::int64_t index) const {
    const std::int64_t across = index % strips() * isa::transform_cols, along = index / strips() * h.size;
    return {by_row() ? across * x.cols + along : along * x.cols + across,
            std::min(isa::transform_cols, side_by_side() - across)};
  }
};

/// Only sizes of 16 have kernels, and only of sums in FP32 or BF16.
bool by_kernel(const Work& w, const void* x, std::int64_t stride, void* out, std::int64_t cols) {
  const auto kernel = w.isa.hadamard[static_cast<int>(w.x.dtype)];
  return kernel && w.h.size == 16 && w.h.sum != HadamardSum::exact &&
         kernel({.x = x,
                 .x_stride = stride,
                 .cols = cols,
                 .out = out,
                 .out_stride = stride,
                 .rounded = w.h.rounded,
                 .transform = {w.matrix.at, w.h.sum == HadamardSum::fma_chain}});
}

/// 16 columns of up to 64 rows, turned: the kernels want a group in a column.
template <class In, class Out>
bool turned(const Work& w, Work::Strip strip) {
  In in[16][isa::transform_cols];
  Out out[16][isa::transform_cols];
  const In* from = static_cast<const In*>(w.x.data) + strip.first;
  Out* to = reinterpret_cast<Out*>(w.out.bytes.data()) + strip.first;
  for (std::int64_t i = 0; i < strip.groups; ++i)
    for (int k = 0; k < 16; ++k) in[k][i] = from[i * w.x.cols + k];
  if (!by_kernel(w, in, isa::transform_cols, out, strip.groups)) return false;
  for (std::int64_t i = 0; i < strip.groups; ++i)
    for (int k = 0; k < 16; ++k) to[i * w.x.cols + k] = out[k][i];
  return true;
}

bool fast(const Work& w, Work::Strip strip) {
  if (!w.by_row()) {
    const auto at = [&](const std::byte* data, Dtype dtype) {
      return data + strip.first * static_cast<std::int64_t>(size_of(dtype));
    };
    return by_kernel(w, at(static_cast<const std::byte*>(w.x.data), w.x.dtype), w.x.cols,
                     const_cast<std::byte*>(at(w.out.bytes.data(), w.out.dtype)), strip.groups);
  }
  if (w.h.size != 16) return false;
  if (w.x.dtype == Dtype::fp32) return turned<std::uint32_t, std::uint32_t>(w, strip);
  return w.h.rounded ? turned<std::uint16_t, std::uint16_t>(w, strip)
                     : turned<std::uint16_t, std::uint32_t>(w, strip);
}

void run(const Work& w, Work::Strip strip) {
  if (fast(w, strip)) return;
  for (std::int64_t g = 0; g < strip.groups; ++g)
    transform(w.x, w.h, w.entries,
              w.by_row() ? Group{strip.first + g * w.x.cols, 1} : Group{strip.first + g, w.x.cols}, w.out);
}

}  // namespace

Entries16::Entries16(const Hadamard& h, Dtype dtype) {
  const Entries entries{sign_words(h), hadamard_entry(16, dtype)};
  for (int k = 0; k < 16; ++k)
    for (int j = 0; j < 16; ++j) at[k][j] = entries(static_cast<std::size_t>(k), j);
}

Matrix hadamard(const isa::Table& isa, MatrixView x, const Hadamard& h) {
  validate(h, x.rows, x.cols);
  Matrix out(x.rows, x.cols, h.rounded ? x.dtype : Dtype::fp32);
  const Work work{x, h, isa, out};
  const std::int64_t tasks = work.tasks();
#pragma omp parallel num_threads(threads())
  {
    const FloatEnvironment fenced;
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < tasks; ++i) run(work, work.strip(i));
  }
  return out;
}

}  // namespace nvfp4::cpu
