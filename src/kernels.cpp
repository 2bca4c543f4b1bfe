#include <nvfp4/kernels.hpp>

#include "accumulate.hpp"
#include "eden.hpp"
#include "epilogue.hpp"
#include "formats.hpp"
#include "hadamard.hpp"
#include "isa/isa.hpp"
#include "quantize.hpp"
#include "stochastic.hpp"

namespace nvfp4 {
namespace {

template <const isa::Table* (*Instructions)()>
constexpr Kernels table(std::string_view name) {
  return {
      .name = name,
      .encode = cpu::encode,
      .encode_stochastic = cpu::encode_stochastic,
      .decode = cpu::decode,
      .amax = [](MatrixView x, const Dialect& dialect) { return cpu::amax(*Instructions(), x, dialect); },
      .quantize =
          [](MatrixView x, const QuantizeSpec& spec, BlockScaledTensor reuse) {
            return cpu::quantize(*Instructions(), x, spec, std::move(reuse));
          },
      .quantize_transposed =
          [](MatrixView x, const QuantizeSpec& spec, BlockScaledTensor reuse) {
            return cpu::quantize_transposed(*Instructions(), x, spec, std::move(reuse));
          },
      .quantize_transformed =
          [](MatrixView x, const Hadamard& h, const QuantizeSpec& spec, BlockScaledTensor reuse) {
            return cpu::quantize_transformed(*Instructions(), x, h, spec, std::move(reuse));
          },
      .quantize_eden =
          [](MatrixView x, const Eden& eden, BlockScaledTensor reuse) {
            return cpu::quantize_eden(*Instructions(), x, eden, std::move(reuse));
          },
      .dequantize = [](const BlockScaledTensor& t) { return cpu::dequantize(*Instructions(), t); },
      .hadamard = [](MatrixView x, const Hadamard& h) { return cpu::hadamard(*Instructions(), x, h); },
      .scale_output = cpu::scale_output,
      .add_output = cpu::add_output,
      .random_words =
          [](const RandomBits& bits, std::int64_t row, std::int64_t first_block,
             std::span<std::uint32_t> words) {
            const auto count = static_cast<std::int64_t>(words.size() / 4);
            Instructions()->random_words(bits, row, first_block, count, words.data());
          },
      .multiply = [](const BlockScaledTensor& a, const BlockScaledTensor& b, const Accumulation& acc,
                     Matrix reuse) { return cpu::multiply(*Instructions(), a, b, acc, std::move(reuse)); },
      .multiply_dense =
          [](MatrixView a, MatrixView b, const Accumulation& acc) {
            return cpu::multiply_dense(*Instructions(), a, b, acc);
          },
      .mma = cpu::mma,
  };
}

constexpr Kernels portable_kernels = table<isa::portable>("cpu portable");
constexpr Kernels avx2_kernels = table<isa::avx2>("cpu avx2");
constexpr Kernels avx512_kernels = table<isa::avx512>("cpu avx512");
constexpr Kernels amx_kernels = table<isa::amx>("cpu amx");

}  // namespace

std::string_view name(Isa isa) {
  constexpr std::string_view names[] = {"portable", "avx2", "avx512", "amx"};
  return names[static_cast<int>(isa)];
}

const Kernels* cpu_kernels(Isa isa) {
  switch (isa) {
    case Isa::portable: return &portable_kernels;
    case Isa::avx2: return isa::avx2() ? &avx2_kernels : nullptr;
    case Isa::avx512: return isa::avx512() ? &avx512_kernels : nullptr;
    case Isa::amx: return isa::amx() ? &amx_kernels : nullptr;
  }
  return nullptr;
}

const Kernels& cpu_kernels() {
  static const Kernels& best = *[] {
    for (const Isa isa : {Isa::amx, Isa::avx512, Isa::avx2})
      if (const Kernels* kernels = cpu_kernels(isa)) return kernels;
    return cpu_kernels(Isa::portable);
  }();
  return best;
}

}  // namespace nvfp4
