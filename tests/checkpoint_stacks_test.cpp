#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include <nvfp4/lint.hpp>
#include <nvfp4/nvfp4.hpp>
#include <nvfp4/stack.hpp>

#include "tests/made_checkpoint.hpp"
#include "tests/program.hpp"

using namespace nvfp4;
using namespace made;

namespace {

const std::string gate = "blk.0.ffn_gate_exps.weight", up = "blk.0.ffn_up_exps.weight";
constexpr std::int64_t experts = 3, rows = 8, cols = 64;

/// Two stacks of experts, a convolution of as many dimensions, a router and a matrix.
std::vector<Made> mixture() {
  return {tensor(gate, ElementType::f32, {experts, rows, cols}, 0x3F),
          tensor(up, ElementType::f32, {experts, rows, cols}, 0x3F),
          tensor("conv.weight", ElementType::f32, {experts, rows, cols}, 0x3F),
          tensor("blk.0.ffn_gate_inp.weight", ElementType::f32, {experts, cols}, 0x3F),
          tensor("blk.0.attn_q.weight", ElementType::f32, {rows, cols}, 0x3F)};
}

/// Quantizes in to out.
struct Mixture {
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors";

  Mixture() { write(in, mixture()); }
  std::string out(const std::string& format) const {
    return folder / ("out" + ending(convention_named(format)));
  }
  CheckpointSummary quantize(CheckpointOptions options) const {
    return quantize_checkpoint(in, {out(options.format), Overwrite::yes}, options, cpu_kernels());
  }
  /// One expert of a stack of the input.
  BlockScaledTensor expert(const std::string& stack, std::int64_t e, QuantizeSpec spec) const {
    const io::Array array = Checkpoint(in).read(stack);
    return cpu_kernels().quantize(expert_of(io::as_matrix(array), experts, e), spec, {});
  }
};

const StoredWeight& weight(const std::vector<StoredWeight>& all, const std::string& name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const StoredWeight& s) { return s.weight.name == name; });
  REQUIRE((found != all.end()));
  return *found;
}

std::string kept(const CheckpointSummary& s, const std::string& name) {
  for (const KeptTensor& k : s.kept)
    if (k.name == name) return k.reason;
  return "";
}

void check_expert(const StoredWeight& stack, std::int64_t e, const BlockScaledTensor& expected) {
  CAPTURE(e);
  const BlockScaledTensor found = block_scaled(stack, *expected.spec.dialect, e);
  CHECK(found.codes == expected.codes);
  CHECK(found.scales == expected.scales);
  if (stack.second)
    CHECK(stack.second->values.at(static_cast<std::size_t>(e)) == decode_scale(expected).value);
}

}  // namespace

TEST_CASE("checkpoint stacks: every expert is quantized by itself where the format holds stacks") {
  const Mixture m;
  for (const std::string format : {"modelopt", "torchao", "gguf", "mxfp4"}) {
    CAPTURE(format);
    const CheckpointSummary s = m.quantize({.format = format});
    CHECK(s.quantized == 3);
    CHECK(kept(s, "conv.weight") == "no matrix");
    CHECK(kept(s, "blk.0.ffn_gate_inp.weight") == "excluded by *ffn_gate_inp*");
    const std::vector<StoredWeight> all = weights_of(m.out(format));
    for (const std::string& name : {gate, up}) {
      const StoredWeight& stack = weight(all, name);
      CHECK(stack.weight.shape == Shape{experts, rows, cols});
      for (std::int64_t e = 0; e < experts; ++e)
        check_expert(stack, e, m.expert(name, e, default_spec(producer_of(format))));
    }
  }
}

TEST_CASE("checkpoint stacks: what has no place for them keeps them, and so does whoever names none") {
  const Mixture m;
  CHECK(kept(m.quantize({.format = "compressed-tensors"}), gate) ==
        "packed weights have no place for a stack of experts");
  CHECK(kept(m.quantize({.exclude = {"*exps*"}}), gate) == "excluded by *exps*");
  const CheckpointSummary s = m.quantize({.stacks = {"conv*"}});
  CHECK(kept(s, gate) == "no matrix");
  CHECK(kept(s, "conv.weight") == "");
  CHECK(weight(weights_of(m.out("modelopt")), "conv.weight").second->values.size() == experts);
}

TEST_CASE("checkpoint stacks: gate and up share a scale expert by expert where that is asked for") {
  const Mixture m;
  m.quantize({.shared_scale = true});
  const std::vector<StoredWeight> all = weights_of(m.out("modelopt"));
  const StoredWeight &first = weight(all, gate), &second = weight(all, up);
  CHECK(lint_checkpoint(m.out("modelopt")).empty());
  CHECK(first.second->values == second.second->values);
  CHECK(std::set<float>(first.second->values.begin(), first.second->values.end()).size() == experts);
  for (std::int64_t e = 0; e < experts; ++e) {
    QuantizeSpec spec = default_spec(dialects::modelopt::info);
    const io::Array a = Checkpoint(m.in).read(gate), b = Checkpoint(m.in).read(up);
    spec.amax = std::max(cpu_kernels().amax(expert_of(io::as_matrix(a), experts, e), *spec.dialect),
                         cpu_kernels().amax(expert_of(io::as_matrix(b), experts, e), *spec.dialect));
    check_expert(first, e, m.expert(gate, e, spec));
    check_expert(second, e, m.expert(up, e, spec));
  }
}

TEST_CASE("checkpoint stacks: decoded and converted they are what each expert is") {
  const Mixture m;
  m.quantize({.format = "modelopt"});
  const std::string values = m.folder / "values.safetensors", gguf = m.folder / "out.gguf";
  dequantize_checkpoint(m.out("modelopt"), {values}, Dtype::fp32, cpu_kernels());
  std::string expected;
  for (std::int64_t e = 0; e < experts; ++e) {
    const Matrix x = cpu_kernels().dequantize(m.expert(gate, e, default_spec(dialects::modelopt::info)));
    expected.append(reinterpret_cast<const char*>(x.bytes.data()), x.bytes.size());
  }
  CHECK((text_of(Checkpoint(values).read(gate).bytes) == expected));
  convert_checkpoint(m.out("modelopt"), {gguf, Overwrite::yes}, {"gguf"});
  check_same(weight(weights_of(gguf), gate), weight(weights_of(m.out("modelopt")), gate));
}

TEST_CASE("checkpoint stacks: the program's option") {
  const Mixture m;
  const program::Arguments arguments{"quantize", m.in, "-o", m.out("modelopt"), "--stacks", "conv*"};
  CHECK(program::has(program::refusal(arguments), "--stacks needs --format"));
  using program::operator+;
  CHECK(program::json(arguments + program::Arguments{"--format", "modelopt"}).value("quantized", -1) == 2);
}
