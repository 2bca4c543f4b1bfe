#include <string>
#include <vector>

#include <nvfp4/gemm.hpp>

#include "computation.hpp"

namespace nvfp4::cli {
namespace {

/// A chain of matrix instructions on codes of every kind.
Bytes chain(const Accumulation& acc, std::uint64_t seed, const Kernels& kernels) {
  const bool any = acc.elements.empty();
  const Format format = any ? Format::bf16 : acc.elements[0];
  MmaOperands x{
      .tiles = 16, .rows = 2, .cols = 3, .k = 2 * acc.k + 1, .a_format = format, .b_format = format};
  const int width = acc.sum == Summation::fp64_fma ? 64 : info(format).bits;
  const auto codes = [&](std::int64_t count, int bits, std::uint64_t stream) {
    const auto random = words(static_cast<std::size_t>(2 * count), seed, stream);
    std::vector<std::uint64_t> made(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < made.size(); ++i)
      made[i] = (std::uint64_t{random[2 * i]} << 32 | random[2 * i + 1]) >> (64 - bits);
    return made;
  };
  const auto a = codes(x.tiles * x.rows * x.k, width, 3), b = codes(x.tiles * x.cols * x.k, width, 4),
             c = codes(x.tiles * x.rows * x.cols, acc.sum == Summation::fp64_fma ? 64 : 32, 5);
  x.a = a, x.b = b, x.c = c;
  std::vector<std::uint8_t> a_scales, b_scales;
  if (acc.scale) {
    x.scale = acc.scale, x.block = acc.block;
    const auto blocks = static_cast<std::size_t>((x.k + x.block - 1) / x.block);
    for (const std::uint32_t w : words(static_cast<std::size_t>(x.tiles * x.rows) * blocks, seed, 6))
      a_scales.push_back(static_cast<std::uint8_t>(w >> 24));
    for (const std::uint32_t w : words(static_cast<std::size_t>(x.tiles * x.cols) * blocks, seed, 7))
      b_scales.push_back(static_cast<std::uint8_t>(w >> 24));
    x.a_scales = a_scales, x.b_scales = b_scales;
  }
  Bytes bytes;
  append(bytes, std::span<const std::uint64_t>(kernels.mma(x, acc, true)));
  return bytes;
}

std::vector<Computation> instructions(const Verification& v) {
  std::vector<Computation> all;
  for (const Accumulation& acc : accumulations()) {
    all.push_back(
        {std::string(acc.name), [acc, seed = v.seed](const Kernels& k) { return chain(acc, seed, k); }});
    if (acc.has_fp16)
      all.push_back({std::string(acc.name) + " in FP16", [acc, seed = v.seed](const Kernels& k) {
                       return chain(fp16_accumulator(acc), seed, k);
                     }});
  }
  return all;
}

/// Random codes under random block scales, `count` from `least` on; global scales near 1.
BlockScaledTensor tensor(std::int64_t rows, const Dialect& dialect, std::uint32_t least, std::uint32_t count,
                         std::uint64_t seed, std::uint64_t stream) {
  BlockScaledTensor t{.spec = default_spec(dialect), .rows = rows, .cols = 700};
  for (const std::uint32_t w : words(static_cast<std::size_t>(rows * t.row_bytes()), seed, stream))
    t.codes.push_back(static_cast<std::uint8_t>(w));
  for (const std::uint32_t w : words(static_cast<std::size_t>(rows * t.blocks_per_row()), seed, stream + 1))
    t.scales.push_back(static_cast<std::uint8_t>(least + w % count));
  return t;
}

/// Scales by how many binades they span, for each of which a product may go another way.
std::vector<Computation> tensors(const Verification& v) {
  struct Scales {
    const char* what;
    const Dialect& dialect;
    std::uint32_t least, count;
    const char* model;
  };
  const Dialect &nv = dialects::te::info, &mx = dialects::mxfp4_ceil::info;
  std::vector<Computation> all;
  for (const Scales& s : {Scales{"narrow", nv, 48, 24, "sm100_nvfp4"},
                          {"wide", nv, 40, 64, "sm100_nvfp4"},
                          {"any", nv, 0, 127, "sm100_nvfp4"},
                          {"narrow", mx, 120, 4, "sm100_mxfp4"},
                          {"wide", mx, 115, 11, "sm100_mxfp4"},
                          {"any", mx, 0, 255, "sm100_mxfp4"}})
    all.push_back(
        {std::string(s.model) + " of tensors, " + s.what + " scales", [s, seed = v.seed](const Kernels& k) {
           const BlockScaledTensor a = tensor(21, s.dialect, s.least, s.count, seed, 12),
                                   b = tensor(70, s.dialect, s.least, s.count, seed, 14);
           return k.multiply(a, b, *find_accumulation(s.model), {}).bytes;
         }});
  return all;
}

/// What a GEMM does beside the product.
Bytes split(std::uint64_t seed, const Kernels& kernels) {
  const Accumulation& acc = *find_accumulation("sm100_nvfp4");
  BlockScaledTensor a = tensor(9, dialects::te::info, 40, 64, seed, 12),
                    b = tensor(33, dialects::te::info, 40, 64, seed, 14);
  a.global = {3.25f}, b.global = {0.7f};
  GemmSpec spec{.scaling = output_scaling(a, b), .cuts = split_k(a, acc, 3)};
  spec.c = converted(numbers(9, 33, seed, 16).view(), Dtype::fp32, kernels);
  spec.beta = 0.3f;
  for (const std::uint32_t w : words(33, seed, 17)) spec.bias.push_back(static_cast<float>(w) * 0x1p-20f);
  return gemm(a, b, acc, spec, kernels).bytes;
}

}  // namespace

void verify_products(const std::vector<Layer>& layers, Verification& v) {
  std::vector<Computation> all = instructions(v);
  for (Computation& c : tensors(v)) all.push_back(std::move(c));
  all.push_back({"GEMM with split-K, alpha, beta * C and bias",
                 [seed = v.seed](const Kernels& k) { return split(seed, k); }});
  verify("products", std::move(all), layers, v);
}

}  // namespace nvfp4::cli
