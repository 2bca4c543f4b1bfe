#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <string_view>

#include <nvfp4/dialects/arcquant.hpp>
#include <nvfp4/dialects/auto_round.hpp>
#include <nvfp4/dialects/compressed_tensors.hpp>
#include <nvfp4/dialects/cutlass.hpp>
#include <nvfp4/dialects/flashinfer.hpp>
#include <nvfp4/dialects/flashinfer_4over6.hpp>
#include <nvfp4/dialects/fouroversix.hpp>
#include <nvfp4/dialects/ggml.hpp>
#include <nvfp4/dialects/jax.hpp>
#include <nvfp4/dialects/mlx.hpp>
#include <nvfp4/dialects/modelopt.hpp>
#include <nvfp4/dialects/mx.hpp>
#include <nvfp4/dialects/paper.hpp>
#include <nvfp4/dialects/quartet2.hpp>
#include <nvfp4/dialects/te.hpp>
#include <nvfp4/dialects/te_ref.hpp>
#include <nvfp4/dialects/tetrajet.hpp>
#include <nvfp4/dialects/torchao.hpp>
#include <nvfp4/dialects/vllm.hpp>

namespace nvfp4 {

template <class... D>
struct DialectList {
  static constexpr std::array infos{&D::info...};

  /// A table with one entry a dialect, in the order of the list: {make(D{})...}.
  template <class Make>
  static constexpr auto table(Make make) {
    return std::array{make(D{})...};
  }
};

/// Every dialect there is. Adding one is a file in this folder and a name in this line.
using Dialects = DialectList<
    dialects::te, dialects::te_rht_fused, dialects::te_rht_fused_fast_math, dialects::te_fast_math,
    dialects::te_4over6, dialects::te_scale_up, dialects::te_fsdp, dialects::te_ref, dialects::te_ref_4over6,
    dialects::vllm, dialects::flashinfer, dialects::flashinfer_exact, dialects::flashinfer_per_token,
    dialects::flashinfer_per_token_exact, dialects::flashinfer_4over6, dialects::flashinfer_4over6_exact,
    dialects::flashinfer_4over6_per_token, dialects::flashinfer_4over6_per_token_exact, dialects::trtllm,
    dialects::cutlass_epilogue, dialects::cutlass_epilogue_host, dialects::cudnn, dialects::vllm_emulation,
    dialects::flashinfer_ref, dialects::auto_round, dialects::compressed_tensors, dialects::modelopt,
    dialects::modelopt_static, dialects::modelopt_onnx, dialects::torchao, dialects::torchao_single_level,
    dialects::fouroversix_static6, dialects::fouroversix_static4, dialects::fouroversix_mse,
    dialects::fouroversix_mae, dialects::fouroversix_absmax, dialects::fouroversix_unbiased, dialects::jax,
    dialects::mlx, dialects::mlx_single_level, dialects::ggml, dialects::paper, dialects::mxfp4_floor,
    dialects::mxfp4_ceil, dialects::mxfp4_nearest, dialects::mxfp8_floor, dialects::mxfp8_ceil,
    dialects::arcquant, dialects::tetrajet_v2, dialects::tetrajet_v2_unbiased, dialects::quartet2,
    dialects::quartet2_4over6, dialects::quartet2_eden, dialects::mxfp4_unbiased>;

inline std::span<const Dialect* const> all_dialects() { return Dialects::infos; }

/// Null if there is none of that name.
inline const Dialect* find_dialect(std::string_view name) {
  for (const Dialect* d : Dialects::infos)
    if (d->name == name) return d;
  return nullptr;
}

/// The place of a dialect in all_dialects() and in the tables of every layer.
inline std::size_t index_of(const Dialect& dialect) {
  std::size_t i = 0;
  while (Dialects::infos[i]->name != dialect.name) ++i;
  return i;
}

}  // namespace nvfp4
