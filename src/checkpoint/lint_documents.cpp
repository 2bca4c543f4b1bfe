#include <algorithm>
#include <array>
#include <set>

#include <nvfp4/glob.hpp>

#include "lint.hpp"

/// What the documents say against what the tensors are.
namespace nvfp4 {
namespace {

using io::ElementType;

/// Matrices that no quantizer of linear layers takes, by their usual names; wrongly left out, they only make a module
/// go unchecked.
constexpr std::array<std::string_view, 8> other_kinds{"*embed*",     "*embd*",     "*norm*", "*wte.weight",
                                                      "*wpe.weight", "*position*", "*conv*", "*bias.weight"};

bool is_eight_bits(ElementType t) { return io::info(t).bits == 8; }

bool is_wide(ElementType t) {
  return t == ElementType::f32 || t == ElementType::f16 || t == ElementType::bf16;
}

/// Matrices of linear layers that are no block-scaled weight's part.
std::vector<const Tensor*> plain_matrices(const LintInput& in) {
  std::set<std::string_view> taken;
  for (const HeldWeight& held : in.weights)
    taken.insert(held.weight.tensors.begin(), held.weight.tensors.end());
  std::vector<const Tensor*> all;
  for (const Tensor& t : in.checkpoint.tensors()) {
    const std::string& name = t.info.name;
    if (taken.contains(name) || !name.ends_with(".weight") || t.shape.size() != 2 || !t.block_type.empty() ||
        std::any_of(other_kinds.begin(), other_kinds.end(),
                    [&](std::string_view glob) { return matches_glob(name, glob); }))
      continue;
    all.push_back(&t);
  }
  return all;
}

double bits_per_parameter(const std::vector<const Tensor*>& matrices) {
  std::int64_t bytes = 0, parameters = 0;
  for (const Tensor* t : matrices) {
    bytes += static_cast<std::int64_t>(byte_size(t->info));
    parameters += elements(t->shape);
  }
  return bits_each(bytes, parameters);
}

/// Nothing is as declared: one finding for all.
bool lint_none(const LintInput& in, const Declaration& d, const std::vector<const Tensor*>& matrices,
               Findings& findings) {
  const bool codes =
      std::any_of(in.checkpoint.tensors().begin(), in.checkpoint.tensors().end(),
                  [](const Tensor& t) { return t.shape.size() >= 2 && t.info.type == ElementType::u8; });
  if (!in.weights.empty() || codes || matrices.empty()) return false;
  std::map<std::string, std::int64_t> types;
  for (const Tensor* t : matrices) ++types[std::string(t->type())];
  std::string kinds;
  for (const auto& [type, count] : types)
    kinds += (kinds.empty() ? "" : ", ") + std::to_string(count) + " in " + type;
  findings.add("NV008", d.document,
               "declares " + d.algorithm + ", and none of " + std::to_string(matrices.size()) +
                   " matrices is: " + kinds + ", " + number_text(bits_per_parameter(matrices)) +
                   " bits per parameter; expected 4.5 (MXFP4 4.25)");
  return true;
}

void lint_modules(const LintInput& in, const Declaration& d, Findings& findings) {
  for (const HeldWeight& held : in.weights)
    if (const std::string entry = d.excluded_by(module_of(held.weight.name)); !entry.empty())
      findings.add("NV010", held.weight.name,
                   d.document + " excludes it by '" + entry + "', and it is quantized");
  if (!d.block_scaled) return;
  const auto matrices = plain_matrices(in);
  if (lint_none(in, d, matrices, findings)) return;
  for (const Tensor* t : matrices) {
    if (d.expected(module_of(t->info.name)) != Expected::block_scaled) continue;
    const std::string& name = t->info.name;
    if (is_wide(t->info.type))
      findings.add("NV010", name,
                   "is " + std::string(t->type()) + ", and " + d.document + " does not exclude it");
    else if (is_eight_bits(t->info.type) && t->info.type != ElementType::u8)
      findings.add("NV008", name,
                   "is " + std::string(t->type()) + ", 8 bits per parameter: " + d.document + " declares " +
                       d.algorithm + ", 4.5 bits");
  }
}

/// ModelOpt's W4A8_NVFP4_FP8 has a block scale for 32 elements.
std::int64_t stored_group(const Checkpoint& c, const Weight& w) {
  Shape wide = w.shape;
  wide.back() /= 32;
  for (const std::string& name : w.tensors)
    if (const Tensor& t = c.at(name); t.info.type == ElementType::f8_e4m3 && t.shape == wide) return 32;
  return w.block();
}

void lint_group_size(const LintInput& in, const Declaration& d, Findings& findings) {
  if (!d.group_size || !d.block_scaled) return;
  std::vector<std::pair<const Weight*, std::int64_t>> others;
  std::size_t expected = 0;
  for (const HeldWeight& held : in.weights) {
    if (d.expected(module_of(held.weight.name)) == Expected::otherwise_quantized) continue;
    ++expected;
    const std::int64_t group = stored_group(in.checkpoint, held.weight);
    if (group != *d.group_size) others.emplace_back(&held.weight, group);
  }
  const std::string declared = "group_size " + std::to_string(*d.group_size);
  if (!others.empty() && others.size() == expected) {
    findings.add("NV019", d.document,
                 "declares " + declared + ", and the blocks of all " + std::to_string(expected) +
                     " weights have " + std::to_string(others[0].second) + " elements");
    return;
  }
  for (const auto& [w, group] : others)
    findings.add("NV019", w->name,
                 "has blocks of " + std::to_string(group) + ": " + d.document + " declares " + declared);
}

bool has_any(const Checkpoint& c, const std::vector<std::string>& endings) {
  return std::any_of(c.tensors().begin(), c.tensors().end(), [&](const Tensor& t) {
    return std::any_of(endings.begin(), endings.end(),
                       [&](const std::string& ending) { return t.info.name.ends_with(ending); });
  });
}

/// Of a cache, whichever of its usual names they bear.
void lint_cache(const LintInput& in, const Declaration& d, Findings& findings) {
  if (d.kv_cache.empty() || has_any(in.checkpoint, {"k_scale", "v_scale", "kv_scale", "kv_cache_scale",
                                                    "k_proj.output_scale", "v_proj.output_scale"}))
    return;
  findings.add("NV020", d.document,
               "declares a KV cache in " + d.kv_cache + ", and no tensor is called k_scale or v_scale");
}

void lint_inputs(const LintInput& in, const Declaration& d, Findings& findings) {
  if (!d.input_scales) return;
  std::vector<const Weight*> without;
  std::int64_t expected = 0;
  for (const HeldWeight& held : in.weights) {
    const Expected of_module = d.expected(module_of(held.weight.name));
    if (of_module != Expected::block_scaled && of_module != Expected::unknown) continue;
    ++expected;
    if (!held.weight.input) without.push_back(&held.weight);
  }
  if (without.empty()) return;
  if (static_cast<std::int64_t>(without.size()) == expected) {
    findings.add("NV021", d.document,
                 "declares " + d.algorithm + " with calibrated inputs, and none of " +
                     std::to_string(expected) + " weights has a scale of its input");
    return;
  }
  for (const Weight* w : without)
    findings.add(
        "NV021", w->name,
        "has no scale of its input: " + d.document + " declares calibrated inputs, and " +
            of_text(expected - static_cast<std::int64_t>(without.size()), expected, "weights have one"));
}

/// ModelOpt says the same in two files; all else has one.
void lint_quantizers(const LintInput& in, Findings& findings) {
  for (std::size_t i = 1; i < in.declared.size(); ++i) {
    const Declaration &a = in.declared[0], &b = in.declared[i];
    if (a.method == b.method && a.algorithm == b.algorithm) continue;
    findings.add(
        "NV022", b.document,
        "declares " + b.method + " " + b.algorithm + ", " + a.document + " " + a.method + " " + a.algorithm);
  }
}

}  // namespace

void lint_documents(const LintInput& in, Findings& findings) {
  lint_quantizers(in, findings);
  if (in.declared.empty()) return;
  const Declaration& d = in.declared.front();
  lint_modules(in, d, findings);
  lint_group_size(in, d, findings);
  lint_cache(in, d, findings);
  lint_inputs(in, d, findings);
}

}  // namespace nvfp4
