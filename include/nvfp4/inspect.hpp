#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/checkpoint.hpp>
#include <nvfp4/io/bytes.hpp>
#include <nvfp4/scale.hpp>

/// What a checkpoint holds, from its documents, names and bits; no more than they show.
namespace nvfp4 {

/// How block scales use their 256 codes.
struct ScaleHistogram {
  Format format = Format::ue4m3;
  std::array<std::int64_t, 256> count{};
  std::int64_t blocks = 0;

  void add(std::span<const std::uint8_t> scales);
  void add(const ScaleHistogram&);
  std::int64_t of(int first, int last) const;  ///< codes, E4M3's sign left out
  std::int64_t zero() const { return format == Format::e8m0 ? 0 : of(0, 0); }
  std::int64_t subnormal() const { return format == Format::e8m0 ? 0 : of(1, 7); }
  std::int64_t clamped() const { return format == Format::e8m0 ? 0 : of(0x7E, 0x7E); }  ///< 448
  std::int64_t nan() const { return format == Format::e8m0 ? count[0xFF] : of(0x7F, 0x7F); }
};

/// A second-level scale, by both readings of its direction.
struct SecondLevel {
  bool divides = false;  ///< on the way out, as its convention has it
  std::vector<float> stored;

  DecodeScale decode(std::size_t i) const { return {divides ? 1 / stored[i] : stored[i]}; }
  EncodeScale encode(std::size_t i) const { return {divides ? stored[i] : 1 / stored[i]}; }
};

struct WeightReport {
  std::string_view convention;
  std::string_view
      layout;  ///< of its block scales: "linear", "128x4", or "blocks" of codes and scales together
  ScaleHistogram scales = {};
  std::optional<SecondLevel> second = {}, input = {};
  std::int64_t zero_elements = 0;  ///< +0 and -0: what was flushed, and what was zero before
  double amax = 0;                 ///< largest magnitude that it decodes to
};

/// A weight of several tensors, or one tensor as it is.
struct TensorReport {
  std::string name;
  std::string_view type;  ///< "nvfp4", "mxfp4", or the file's word: "BF16"
  std::vector<std::int64_t> shape;
  std::uint64_t bytes = 0;
  std::optional<WeightReport> weight = {};

  std::int64_t parameters() const;
  double bits_per_parameter() const;
};

enum class Confidence : std::uint8_t {
  declared,  ///< the documents, metadata or types say so
  complete,  ///< by names, types and shapes, of all that look like parts of such weights
  partial,   ///< the same of some; others lack a tensor or have another shape
};
std::string_view name(Confidence);

struct DialectExclusion {
  std::string_view dialect;
  std::string why;
};

/// Which quantizers the bits rule out. What is not ruled out is not thereby shown.
struct DialectEvidence {
  std::string_view producer;  ///< the convention's own
  std::vector<DialectExclusion> excluded;
  std::vector<std::string_view> possible;
  bool producer_possible() const;
};

struct CheckpointReport {
  std::string_view container;
  bool folder = false;
  std::size_t files = 0;
  std::string_view convention;  ///< empty where it has no block-scaled weights that are known here
  Confidence confidence = Confidence::complete;
  std::optional<DialectEvidence> dialect = {};
  std::vector<TensorReport> tensors = {};  ///< in the order of the files
  ScaleHistogram scales = {};              ///< of all E4M3 block scales

  std::int64_t parameters() const;
  std::uint64_t bytes() const;
  double bits_per_parameter() const;
};

/// Reads every block-scaled weight once, `threads` at a time (0: as many as the CPU layer has). Throws io::FileError.
CheckpointReport inspect_checkpoint(const std::string& path, int threads = 0, const CheckpointWatch& = {});
/// Of one file that was read already.
CheckpointReport inspect_checkpoint(io::Bytes file, const std::string& path, int threads = 0,
                                    const CheckpointWatch& = {});

}  // namespace nvfp4
