#include <algorithm>

#include <nvfp4/layout.hpp>

#include "lint.hpp"
#include "parts.hpp"

/// What a weight is made of, by names, types, shapes and sizes.
namespace nvfp4 {
namespace {

using io::ElementType;

/// ComfyUI's files say so and swizzle; their convention of names is ModelOpt's.
bool may_be_swizzled(const Checkpoint& c) { return c.documents().contains("_quantization_metadata"); }

std::string quoted(const std::string& name) { return "'" + name + "'"; }

std::string described(const Tensor& t) { return std::string(t.type()) + " " + shape_text(t.shape); }

// Padding.

struct Extent {
  std::int64_t experts, rows, blocks;
  std::uint64_t linear() const { return static_cast<std::uint64_t>(experts * rows * blocks); }
  std::uint64_t tiled() const {
    const ScaleExtent e = padded(ScaleLayout::tiled_128x4, rows, blocks);
    return static_cast<std::uint64_t>(experts * e.rows * e.cols);
  }
};

/// Bytes of a 128x4 tile that stand for no block.
void lint_padding(const Checkpoint& c, const Tensor& scales, const Extent& extent, const std::string& weight,
                  Findings& findings) {
  if (byte_size(scales.info) != extent.tiled() || extent.tiled() == extent.linear()) return;
  const ScaleExtent whole = padded(ScaleLayout::tiled_128x4, extent.rows, extent.blocks);
  const io::Array array = c.read(scales);
  std::int64_t padding = 0, dirty = 0;
  std::optional<BlockPlace> first;
  unsigned found = 0;
  for (std::int64_t e = 0; e < extent.experts; ++e)
    for (std::int64_t row = 0; row < whole.rows; ++row)
      for (std::int64_t block = row < extent.rows ? extent.blocks : 0; block < whole.cols; ++block) {
        const std::int64_t at =
            e * whole.rows * whole.cols + offset(ScaleLayout::tiled_128x4, row, block, extent.blocks);
        const auto byte = std::to_integer<unsigned>(array.bytes.view()[static_cast<std::size_t>(at)]);
        ++padding;
        if (!byte) continue;
        if (!dirty++) first = BlockPlace{e * extent.rows + row, block}, found = byte;
      }
  array.bytes.release();
  if (!dirty) return;
  findings.add("NV007", weight,
               of_text(dirty, padding, "padding bytes of ") + quoted(scales.info.name) +
                   " are not 0: the first is " + std::to_string(found) + ", of padded row " +
                   std::to_string(first->row) + ", block " + std::to_string(first->block) +
                   "; the weight has " + std::to_string(extent.rows) + " rows of " +
                   std::to_string(extent.blocks) + " blocks",
               first);
}

void lint_padding(const Checkpoint& c, const Weight& w, Findings& findings) {
  const Extent extent{w.experts(), w.rows() / std::max<std::int64_t>(1, w.experts()), w.cols() / w.block()};
  for (const std::string& name : w.tensors)
    if (const Tensor& t = c.at(name); t.info.type == ElementType::f8_e4m3)
      lint_padding(c, t, extent, w.name, findings);
}

// Parts that no convention made a weight of.

class PartsOfOne {
 public:
  PartsOfOne(const LintInput& in, const LooseParts& parts, Findings& findings)
      : in_(in), parts_(parts), findings_(findings) {}

  void lint() {
    if (parts_.whole) return lint_numbers();
    const Tensor* codes = parts_.at(Part::codes);
    if (!codes) return lint_orphan();
    const Tensor* scales = parts_.at(Part::block_scales);
    if (!scales) return lint_bare(*codes);
    const bool mx = lint_scales(*codes, *scales);
    if (!parts_.at(Part::second) && !mx && needs_second())
      missing("second-level scale " + quoted(parts_.name_of(Part::second)));
    lint_numbers();
  }

 private:
  void add(std::string_view code, const std::string& text) { findings_.add(code, parts_.weight, text); }
  void missing(const std::string& what) { add("NV009", what + " is missing"); }

  void lint_orphan() {
    const auto first = std::find_if(parts_.of.begin(), parts_.of.end(), [](const Tensor* t) { return t; });
    const Tensor* plain = in_.checkpoint.find(parts_.weight);
    add("NV009", quoted((*first)->info.name) + " (" + described(**first) + ") has no weight: " +
                     (plain ? quoted(parts_.weight) + " is " + described(*plain)
                            : "expected " + quoted(parts_.name_of(Part::codes))));
  }

  /// A matrix of bytes that the documents leave alone, or in a checkpoint that knows no NVFP4, is just that.
  void lint_bare(const Tensor& codes) {
    const std::string module = module_of(parts_.weight);
    const bool alone = parts_.family == "modelopt" && !parts_.at(Part::second) && !parts_.at(Part::input);
    for (const Declaration& d : in_.declared)
      if (alone && d.expected(module) == Expected::high_precision) return;
    if (alone && in_.declared.empty() && in_.weights.empty()) return;
    add("NV009", "codes " + quoted(codes.info.name) + " (" + described(codes) + ") without block scales " +
                     quoted(parts_.name_of(Part::block_scales)));
  }

  /// Whether they are MXFP4's.
  bool lint_scales(const Tensor& codes, const Tensor& scales) {
    Shape nvfp4 = codes.shape, mxfp4 = codes.shape;
    nvfp4.back() /= 8, mxfp4.back() /= 16;
    if (parts_.family == "mxfp4") mxfp4.pop_back(), nvfp4 = mxfp4;
    const ElementType type = scales.info.type;
    const bool e8m0 = type == ElementType::u8 || type == ElementType::f8_e8m0;
    if (scales.shape == mxfp4 && e8m0) return true;
    if (type != ElementType::f8_e4m3)
      add("NV015", "block scales " + quoted(scales.info.name) + " are " + std::string(scales.type()) +
                       ": expected F8_E4M3");
    if (scales.shape != nvfp4) lint_shape(codes, scales, nvfp4);
    return false;
  }

  void lint_shape(const Tensor& codes, const Tensor& scales, const Shape& expected) {
    const std::int64_t experts = codes.shape.size() == 3 ? codes.shape[0] : 1;
    const Extent extent{experts,
                        elements(codes.shape) / std::max<std::int64_t>(1, codes.shape.back() * experts),
                        expected.back()};
    const std::string found = "block scales " + quoted(scales.info.name) + " are " + shape_text(scales.shape);
    const std::string wanted = "codes " + shape_text(codes.shape) + " expect " + shape_text(expected);
    const bool tiled = is_tiled(scales.shape, extent);
    if (!tiled)
      add("NV016", found + ": " + wanted + implied_group(codes, scales));
    else if (!may_be_swizzled(in_.checkpoint))
      add("NV006", found + ", the size of the 128x4 layout: linear " + wanted);
    if (tiled) lint_padding(in_.checkpoint, scales, extent, parts_.weight, findings_);
  }

  /// Where both layouts have one size, only torchao's shape of tiles tells them apart.
  static bool is_tiled(const Shape& found, const Extent& extent) {
    if (static_cast<std::uint64_t>(elements(found)) != extent.tiled()) return false;
    if (extent.tiled() != extent.linear()) return true;
    return found.back() == (extent.blocks + 3) / 4 * 16;
  }

  static std::string implied_group(const Tensor& codes, const Tensor& scales) {
    const std::int64_t columns = 2 * codes.shape.back(),
                       groups = scales.shape.empty() ? 0 : scales.shape.back();
    if (groups == 0 || columns % groups || columns == 16 * groups) return "";
    return " (theirs is a group size of " + std::to_string(columns / groups) + ", not 16)";
  }

  bool needs_second() const {
    if (parts_.family != "torchao") return parts_.family != "mxfp4" && parts_.family != "gguf";
    const auto entry = in_.checkpoint.metadata().find(parts_.weight);
    return entry != in_.checkpoint.metadata().end() &&
           entry->second.find("\"per_tensor_scale\"") != std::string::npos;
  }

  void lint_numbers() {
    for (const Part part : {Part::second, Part::input}) {
      const Tensor* t = parts_.at(part);
      if (!t) continue;
      const std::string what =
          (part == Part::second ? "second-level scale " : "scale of the input ") + quoted(t->info.name);
      const std::int64_t n = elements(t->shape);
      const Tensor* codes = parts_.at(Part::codes);
      const bool stack = codes && codes->shape.size() == 3 && n == codes->shape[0];
      if (t->info.type != ElementType::f32)
        add("NV015", what + " is " + std::string(t->type()) + ": expected F32");
      else if (n != 1 && !stack)
        add("NV016", what + " is " + shape_text(t->shape) + ": expected one number");
    }
  }

  const LintInput& in_;
  const LooseParts& parts_;
  Findings& findings_;
};

}  // namespace

void lint_parts(const LintInput& in, Findings& findings) {
  for (const LooseParts& parts : loose_parts(in.checkpoint, in.weights))
    PartsOfOne(in, parts, findings).lint();
  for (const HeldWeight& held : in.weights) lint_padding(in.checkpoint, held.weight, findings);
}

}  // namespace nvfp4
