#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <nvfp4/mma.hpp>

/// Single instructions on given operands: what no document says is measured with them. They take and give arrays of the
/// host, allocate on the current device and wait for it. std::invalid_argument: operands that do not fit, or an
/// instruction that this device lacks; std::runtime_error: CUDA fails.
namespace nvfp4::gpu {

struct MmaInstruction {
  std::string_view name;  ///< as PTX says it, without what all have in common
  std::string_view
      model;  ///< of its accumulation, behind "sm90_" or the like; FP16 results: fp16_accumulator() of it
  int rows, cols, k;  ///< of one instruction
  Format element;     ///< of A and of B
  std::optional<Format> scale{};
  int block = 0;
  bool fp16 = false;                         ///< C and D are FP16
  bool (*exists)(int capability) = nullptr;  ///< on a device of this compute capability, such as 103
};
std::span<const MmaInstruction> mma_instructions();
bool exists(const MmaInstruction&);  ///< on the current device

/// D of each tile, tiles x rows x cols, as Kernels::mma has it. Tiles may be smaller than the instruction's; a longer k
/// chains instructions. What is not given is zero.
std::vector<std::uint64_t> run(const MmaInstruction&, const MmaOperands&);

bool has_e2m1_conversions();        ///< cvt of sm_100a, 103a and 120f
bool has_stochastic_conversions();  ///< cvt.rs, of sm_100a and 103a

/// cvt.rn.satfinite.e2m1x2.f32 of pairs (high nibble, low nibble).
std::vector<std::uint8_t> cvt_rn_e2m1x2(std::span<const float> pairs);
/// cvt.rn.f16x2.e2m1x2: FP16 codes, of the low nibble first.
std::vector<std::uint16_t> cvt_f16x2_e2m1x2(std::span<const std::uint8_t> bytes);
/// cvt.rs.satfinite.e2m1x4.f32 of {a, b, e, f}, a in the highest nibble, by one word of random bits each.
std::vector<std::uint16_t> cvt_rs_e2m1x4(std::span<const float> fours, std::span<const std::uint32_t> random);
/// cvt.rn.satfinite.e4m3x2.f32 of pairs (high byte, low byte); sm_90 and later.
std::vector<std::uint16_t> cvt_rn_e4m3x2(std::span<const float> pairs);
/// rcp.approx.ftz.f32.
std::vector<float> rcp_approx_ftz(std::span<const float>);

}  // namespace nvfp4::gpu
