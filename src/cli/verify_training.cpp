#include <functional>
#include <string>
#include <vector>

#include <nvfp4/cases.hpp>
#include <nvfp4/linear.hpp>
#include <nvfp4/producers.hpp>

#include "embedded_values.hpp"
#include "number.hpp"
#include "verify.hpp"

namespace nvfp4::cli {
namespace {

using Bytes = std::vector<std::byte>;

/// Something whose bytes are the same on every layer.
struct Computation {
  std::string name;
  std::function<Bytes(const Kernels&)> bytes;
  Bytes expected{};
};

template <class T>
void append(Bytes& bytes, std::span<const T> values) {
  const auto more = std::as_bytes(values);
  bytes.insert(bytes.end(), more.begin(), more.end());
}

/// Random words of a stream of their own, so that every layer has the same.
std::vector<std::uint32_t> words(std::size_t count, std::uint64_t seed, std::uint64_t stream) {
  std::vector<std::uint32_t> made(count);
  for (std::size_t i = 0; i < count; ++i)
    made[i] = draw({.seed = seed, .stream = stream}, static_cast<std::int64_t>(i / 4), 0)[i % 4];
  return made;
}

/// BF16 numbers, most within twelve binades.
Matrix numbers(std::int64_t rows, std::int64_t cols, std::uint64_t seed, std::uint64_t stream) {
  Matrix x(rows, cols, Dtype::bf16);
  const auto random = words(static_cast<std::size_t>(rows * cols), seed, stream);
  for (std::size_t i = 0; i < random.size(); ++i) {
    const std::uint32_t exponent = random[i] % 64 == 0 ? random[i] >> 8 & 0xFF : 121 + (random[i] >> 8) % 12;
    x.u16()[i] =
        static_cast<std::uint16_t>((random[i] >> 31 << 15) | exponent << 7 | (random[i] >> 16 & 0x7F));
  }
  return x;
}

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

std::vector<Computation> products(const Verification& v) {
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

void hold(const Computation& c, const Kernels& kernels, Tally& tally) {
  const Bytes actual = c.bytes(kernels);
  std::int64_t differing = actual.size() == c.expected.size() ? 0 : 1;
  std::size_t first = actual.size();
  for (std::size_t i = 0; i < std::min(actual.size(), c.expected.size()); ++i)
    if (actual[i] != c.expected[i]) ++differing, first = std::min(first, i);
  tally.count(differing, [&](Json& json, std::string& text) {
    json.update({{"case", c.name}, {"byte", first}});
    text += c.name + ": byte " + std::to_string(first);
  });
}

void verify(const std::string& what, std::vector<Computation> all, const std::vector<Layer>& layers,
            Verification& v) {
  parallel_for(all.size(), [&](std::size_t i) { all[i].expected = all[i].bytes(reference_kernels()); });
  for (const Layer& layer : layers) {
    Tally tally(v, what, layer);
    if (!layer.kernels) tally.not_run(all.size());
    for (std::size_t i = 0; layer.kernels && i < all.size(); ++i) hold(all[i], *layer.kernels, tally);
  }
}

}  // namespace

void verify_training(const std::vector<Layer>& layers, Verification& v) {
  verify("stochastic", roundings(v), layers, v);
  verify("transforms", transforms(v), layers, v);
  verify("transposed", operands(v), layers, v);
  verify("products", products(v), layers, v);
  verify("linear", linear_layers(v), layers, v);
}

}  // namespace nvfp4::cli
