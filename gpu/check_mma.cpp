#include <algorithm>
#include <optional>
#include <random>

#include <nvfp4/mma.hpp>
#include <nvfp4/probes.hpp>

#include "check_instructions.hpp"
#include "device.hpp"
#include "probe_instructions.hpp"

namespace nvfp4::gpu {
namespace {

/// Of this device's generation; of the one before where that says nothing of its own.
const Accumulation* model_of(const MmaInstruction& i) {
  const int found = capability();
  for (const int generation : {120, 103, 100, 90, 89, 80})
    if (generation <= found && (generation == 120) == (found >= 120))
      if (const auto* acc = find_accumulation("sm" + std::to_string(generation) + "_" + std::string(i.model)))
        return acc;
  return nullptr;
}

/// Codes of all kinds whose exponents lie within `spread` of the middle one; far out, infinities and NaN come too.
class Codes {
 public:
  explicit Codes(std::uint64_t seed) : random_(seed) {}

  std::uint64_t of(const FormatInfo& f, int spread) {
    const std::uint64_t bits = random_();
    const int stored = f.format == Format::tf32 ? 23 : f.mantissa_bits, fields = 1 << f.exponent_bits;
    const int middle = std::min(f.bias, fields - 1),
              field = middle - spread + static_cast<int>(bits >> 32) % (2 * spread + 1);
    const std::uint64_t exponent = static_cast<std::uint64_t>(std::clamp(field, 0, fields - 1)) << stored;
    const std::uint64_t zero_of_16 = bits >> 60 == 0 ? 0 : ~std::uint64_t{0};
    const std::uint64_t sign = f.has_sign ? (bits >> 59 & 1) << (stored + f.exponent_bits) : 0;
    return ((bits & ((std::uint64_t{1} << stored) - 1)) | exponent | sign) & zero_of_16;
  }

  std::vector<std::uint64_t> many(std::int64_t count, Format format, int spread) {
    std::vector<std::uint64_t> codes(static_cast<std::size_t>(count));
    for (std::uint64_t& code : codes) code = of(info(format), spread);
    return codes;
  }

  std::vector<std::uint8_t> scales(std::int64_t count, std::optional<Format> format, int spread) {
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(count));
    for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(of(info(*format), spread));
    return codes;
  }

 private:
  std::mt19937_64 random_;
};

/// BF16 codes as FP32's, with random lower bits.
std::vector<std::uint64_t> fp32(std::vector<std::uint64_t> codes) {
  for (std::uint64_t& code : codes) code = code << 16 | (code ? code * 0x9E37 & 0xFFFF : 0);
  return codes;
}

/// Sixteen tiles of up to 16 x 8, two instructions deep.
void check_random(const MmaInstruction& i, const Accumulation& acc, int spread, Codes& codes,
                  InstructionCheck& check) {
  MmaOperands x{.tiles = 16, .rows = std::min(i.rows, 16), .cols = std::min(i.cols, 8), .k = 2 * i.k};
  x.a_format = x.b_format = i.element;
  x.scale = i.scale, x.block = i.block;
  const std::int64_t blocks = i.scale ? x.k / i.block : 0;
  const auto a = codes.many(x.tiles * x.rows * x.k, i.element, spread),
             b = codes.many(x.tiles * x.cols * x.k, i.element, spread),
             c = i.fp16 ? codes.many(x.tiles * x.rows * x.cols, Format::fp16, spread)
                        : fp32(codes.many(x.tiles * x.rows * x.cols, Format::bf16, spread));
  const auto a_scales = codes.scales(x.tiles * x.rows * blocks, i.scale.value_or(Format::ue4m3), spread),
             b_scales = codes.scales(x.tiles * x.cols * blocks, i.scale.value_or(Format::ue4m3), spread);
  x.a = a, x.b = b, x.c = c, x.a_scales = a_scales, x.b_scales = b_scales;
  tally(check, cpu_kernels().mma(x, acc, false), run(i, x), i.fp16 ? 2 : 4);
}

InstructionCheck check_instruction(const MmaInstruction& i, std::uint64_t seed) {
  InstructionCheck check{.instruction = "mma " + std::string(i.name), .model = std::string(i.model)};
  check.exists = exists(i);
  const Accumulation* acc = check.exists ? model_of(i) : nullptr;
  if (!acc) return check.exists = false, check;
  check.model = acc->name;
  Codes codes(seed);
  for (const int spread : {1, 4, 12, 1000})
    check_random(i, i.fp16 ? fp16_accumulator(*acc) : *acc, spread, codes, check);
  return check;
}

/// Each probe a tile of one output.
std::vector<std::uint64_t> measured(const MmaInstruction& i, const ProbeSet& set) {
  std::vector<std::uint64_t> d;
  for (const Probe& p : set.probes) {
    const std::uint64_t c = p.c;
    MmaOperands x{.k = static_cast<std::int64_t>(p.a.size()), .scale = i.scale, .block = i.block};
    x.a = p.a, x.b = p.b, x.c = {&c, 1}, x.a_scales = p.a_scales, x.b_scales = p.b_scales;
    d.push_back(run(i, x)[0]);
  }
  return d;
}

InstructionCheck check_probes(const MmaInstruction& i, const ProbeSet& set) {
  InstructionCheck check{.instruction = "mma " + std::string(i.name) + ", probes " + std::string(set.name),
                         .model = std::string(set.hypotheses[0].name)};
  check.exists = exists(i);
  check.has_hypotheses = true;
  if (!check.exists) return check;
  const std::vector<std::uint64_t> found = measured(i, set);
  tally(check, predict(set, set.hypotheses[0], cpu_kernels()), found, 4);
  for (const std::string_view name : survivors(set, found, cpu_kernels())) check.survivors.emplace_back(name);
  return check;
}

}  // namespace

std::vector<InstructionCheck> check_mma(std::uint64_t seed) {
  std::vector<InstructionCheck> all;
  for (const MmaInstruction& i : mma_instructions()) all.push_back(check_instruction(i, seed));
  for (const ProbeSet& set : probe_sets())
    for (const MmaInstruction& i : mma_instructions())
      if (i.block == set.block && i.element == Format::e2m1 && set.name != "nvfp4_k96" &&
          (i.scale == Format::ue4m3) == (set.name != "mxfp4") && i.model != "mxf8f6f4")
        all.push_back(check_probes(i, set));
  return all;
}

}  // namespace nvfp4::gpu

namespace nvfp4 {

std::vector<InstructionCheck> check_instructions(std::uint64_t seed) {
  gpu::require_device();
  std::vector<InstructionCheck> all = gpu::check_conversions(seed);
  for (InstructionCheck& check : gpu::check_mma(seed)) all.push_back(std::move(check));
  return all;
}

}  // namespace nvfp4
