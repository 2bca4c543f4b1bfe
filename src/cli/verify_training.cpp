#include <string>
#include <vector>

#include <nvfp4/cases.hpp>
#include <nvfp4/linear.hpp>
#include <nvfp4/producers.hpp>

#include "computation.hpp"
#include "embedded_values.hpp"

namespace nvfp4::cli {
namespace {

using cli::append;

std::vector<Computation> roundings(const Verification& v) {
  std::vector<Computation> all;
  const auto add = [&](std::string name, const StochasticEncoding& e) {
    all.push_back({std::move(name), [e, seed = v.seed](const Kernels& kernels) {
                     std::vector<float> values = boundary_values(e.format);
                     std::vector<std::uint32_t> random = words(values.size(), seed, 1), codes(values.size());
                     for (std::uint32_t& r : random) r >>= 32 - e.bits;
                     kernels.encode_stochastic(values, random, e, codes);
                     Bytes bytes;
                     append(bytes, std::span<const std::uint32_t>(codes));
                     return bytes;
                   }});
  };
  for (const Format format : {Format::e2m1, Format::e4m3, Format::bf16})
    for (const int bits : {1, 8, 16, 32})
      add(std::string(info(format).name) + " with " + std::to_string(bits) + " random bits",
          {format, SrRule::carry, bits});
  add("e2m1 by te_software", {.rule = SrRule::te_software});
  add("e2m1 by tetrajet", {.rule = SrRule::tetrajet, .bits = 23});
  return all;
}

std::vector<Computation> transforms(const Verification& v) {
  std::vector<Computation> all;
  const auto add = [&](const Hadamard& h) {
    const std::string along = h.along == Along::row ? "rows" : "tokens";
    const char* sums[] = {"fma_chain", "tensor_core", "exact"};
    all.push_back({"size " + std::to_string(h.size) + " along " + along + ", signs " +
                       std::string(name(h.signs)) + ", " + sums[static_cast<int>(h.sum)],
                   [h, seed = v.seed](const Kernels& k) {
                     const bool row = h.along == Along::row;
                     return k.hadamard(numbers(row ? 5 : 256, row ? 256 : 5, seed, 2).view(), h).bytes;
                   }});
  };
  for (const HadamardSum sum : {HadamardSum::fma_chain, HadamardSum::tensor_core, HadamardSum::exact})
    for (const Along along : {Along::row, Along::tokens}) {
      for (const int size : {2, 8, 16, 128})
        add({.signs = Signs::seed, .sum = sum, .size = size, .along = along});
      add({.sum = sum, .along = along});
    }
  return all;
}

void append(Bytes& bytes, const BlockScaledTensor& t) {
  append(bytes, std::span<const std::uint8_t>(t.codes));
  append(bytes, std::span<const std::uint8_t>(t.scales));
  append(bytes, std::span<const float>(t.global));
}

void append(Bytes& bytes, const Operand& operand) {
  append(bytes, std::span<const std::byte>(operand.dense.bytes));
  if (operand.quantized) append(bytes, *operand.quantized);
}

/// The column-wise copy, plain and transformed, of numbers far apart and of numbers whose sums are exact.
std::vector<Computation> operands(const Verification& v) {
  std::vector<Computation> all;
  for (const Dialect* d : all_dialects())
    for (const bool narrow : {false, true})
      for (const bool rht : {false, true})
        all.push_back({std::string(d->name) + (rht ? " after RHT-16" : "") + (narrow ? ", narrow" : ", wide"),
                       [=, seed = v.seed](const Kernels& k) {
                         Matrix x = numbers(48, 150, seed, 11);
                         for (std::int64_t i = 0; narrow && i < x.rows * x.cols; ++i)
                           x.u16()[i] =
                               static_cast<std::uint16_t>((x.u16()[i] & 0x807F) | (125 + i % 3) << 7);
                         const Hadamard h{.sum = hadamard_sum(*d, Dtype::bf16), .along = Along::tokens};
                         Bytes bytes;
                         append(bytes, rht ? k.quantize_transformed(x.view(), h, default_spec(*d), {})
                                           : k.quantize_transposed(x.view(), default_spec(*d), {}));
                         return bytes;
                       }});
  return all;
}

std::vector<Computation> corrections(const Verification& v) {
  std::vector<Computation> all;
  for (const int group : {16, 128, 256})
    all.push_back(
        {"MS-EDEN by " + std::to_string(group), [group, seed = v.seed](const Kernels& k) {
           Bytes bytes;
           append(bytes, k.quantize_eden(numbers(9, 600, seed, 12).view(), {group, {.seed = seed}}, {}));
           return bytes;
         }});
  return all;
}

Bytes layer(const Recipe& recipe, std::uint64_t seed, const Kernels& kernels) {
  const Matrix x = numbers(40, 52, seed, 8), w = numbers(36, 52, seed, 9), dy = numbers(40, 36, seed, 10);
  const LinearResult r = linear(recipe, x.view(), w.view(), dy.view(), seed, kernels);
  Bytes bytes;
  for (const Pass* pass : {&r.fprop, &r.dgrad, &r.wgrad}) {
    for (const Term& term : pass->terms) append(bytes, term.a), append(bytes, term.b);
    append(bytes, std::span<const std::byte>(pass->out.bytes));
  }
  return bytes;
}

std::vector<Computation> linear_layers(const Verification& v) {
  std::vector<Computation> all;
  for (const Recipe& recipe : recipes())
    all.push_back(
        {recipe.name, [&recipe, seed = v.seed](const Kernels& k) { return layer(recipe, seed, k); }});
  return all;
}

}  // namespace

void verify_training(const std::vector<Layer>& layers, Verification& v) {
  verify("stochastic", roundings(v), layers, v);
  verify("transforms", transforms(v), layers, v);
  verify("transposed", operands(v), layers, v);
  verify("eden", corrections(v), layers, v);
  verify("linear", linear_layers(v), layers, v);
}

}  // namespace nvfp4::cli
