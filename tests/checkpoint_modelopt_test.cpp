#include <doctest/doctest.h>

#include <nvfp4/nvfp4.hpp>

#include "tests/made_checkpoint.hpp"

using namespace nvfp4;
using namespace made;

TEST_CASE("conventions: ModelOpt's tensors and both documents") {
  Example e(modelopt_tensors(), {{"config", R"({"model_type": "llama"})"}});
  e.to("compressed-tensors");
  const std::string back = e.folder / "back.safetensors";
  convert_checkpoint(e.out, {back}, {"modelopt"});
  CHECK(tensors_of(back) == tensors_of(e.in));
  CHECK(
      document(back, "hf_quant_config")["quantization"].dump() ==
      R"({"quant_algo":"NVFP4","kv_cache_quant_algo":null,"group_size":16,"exclude_modules":["p.lm_head"]})");
  CHECK(
      document(back, "config").dump() ==
      R"({"model_type":"llama","quantization_config":{"config_groups":{"group_0":{"input_activations":)"
      R"({"dynamic":false,"num_bits":4,"type":"float","group_size":16},"weights":{"dynamic":false,"num_bits":4,)"
      R"("type":"float","group_size":16},"targets":["Linear"]}},"ignore":["p.lm_head"],"quant_algo":"NVFP4",)"
      R"("producer":{"name":"modelopt","version":"0.47.0"},"quant_method":"modelopt"}})");
}

TEST_CASE("conventions: ModelOpt's weights with and without an input scale are of mixed precision") {
  const scratch::Folder folder;
  StoredWeight plain = example("c.weight", Format::ue4m3, {2, 32}, ScaleUse::multiplies);
  plain.weight.input.reset(), plain.input.reset();
  write(folder / "x.safetensors", modelopt_convention,
        {example("a.weight", Format::ue4m3, {2, 32}, ScaleUse::multiplies), plain});
  CHECK(document(folder / "x.safetensors", "hf_quant_config")["quantization"].dump() ==
        R"({"quant_algo":"MIXED_PRECISION","kv_cache_quant_algo":null,"quantized_layers":)"
        R"({"a":{"quant_algo":"NVFP4","group_size":16},"c":{"quant_algo":"W4A16_NVFP4","group_size":16}}})");
}

TEST_CASE("conventions: ModelOpt's fused experts have names of their parameter") {
  const scratch::Folder folder;
  write(folder / "x.safetensors", modelopt_convention,
        {example("m.experts.up", Format::ue4m3, {2, 3, 64}, ScaleUse::multiplies)});
  CHECK(tensors_of(folder / "x.safetensors") ==
        Names{"m.experts.up U8 2x3x32", "m.experts.up_input_scale F32 2",
              "m.experts.up_weight_scale F8_E4M3 2x3x4", "m.experts.up_weight_scale_2 F32 2"});
}

TEST_CASE("conventions: what only ModelOpt reads is refused by name, or dropped, and to itself it stays") {
  std::vector<Made> tensors = modelopt_tensors();
  tensors.push_back(tensor("p.q.pre_quant_scale", ElementType::bf16, {64}));
  tensors.push_back(floats("p.k.k_scale", {}, {1}));
  const std::string awq =
      R"({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4_AWQ", "kv_cache_quant_algo": "FP8"}})";
  const Example e(tensors, {{"hf_quant_config", awq}});
  CHECK(
      e.refusal("compressed-tensors") ==
      "compressed-tensors has no place for 'p.q.pre_quant_scale', 'p.k.k_scale': --drop leaves tensors out");
  CHECK(e.refusal("compressed-tensors", {"*.pre_quant_scale", "*.k_scale"}).empty());
  e.to("modelopt");
  CHECK(tensors_of(e.out) == tensors_of(e.in));
  CHECK(Checkpoint(e.out).documents().at("hf_quant_config") == awq);
  CHECK(rejection([&] {
          dequantize_checkpoint(e.in, {e.out, Overwrite::yes}, Dtype::bf16, cpu_kernels());
        }) == e.in + ": part of a weight's value, and not decoded here: 'p.q.pre_quant_scale'");
}

TEST_CASE("conventions: FP8 modules of a mixed ModelOpt checkpoint are not taken for NVFP4") {
  std::vector<Made> tensors = modelopt_tensors();
  tensors.push_back(floats("p.o.weight_scale", {}, {1}));
  tensors.push_back(tensor("p.o.weight", ElementType::f8_e4m3, {3, 64}));
  CHECK(Example(tensors).refusal("torchao") ==
        "torchao has no place for 'p.o.weight_scale': --drop leaves tensors out");
}

TEST_CASE("conventions: W4A8_NVFP4_FP8 has blocks of 32, and inputs that are not NVFP4's") {
  std::vector<Made> tensors = modelopt_tensors();
  tensors.back() = tensor("p.q.weight_scale", ElementType::f8_e4m3, {3, 2}, 0x7E);
  const Example e(tensors, {{"hf_quant_config", R"({"quantization": {"quant_algo": "W4A8_NVFP4_FP8"}})"}});
  CHECK(e.refusal("compressed-tensors") ==
        "compressed-tensors has no place for 'p.q.input_scale': --drop leaves tensors out");
  e.to("compressed-tensors", {"*.input_scale"});
  const StoredWeight w = weights_of(e.out)[0];
  std::string twice;
  for (const char scale : tensors.back().bytes) twice.append(2, scale);
  CHECK((text_of(w.scales) == twice));
}

TEST_CASE("conventions: Quark's input scale has another name") {
  std::vector<Made> tensors = modelopt_tensors();
  tensors[1] = floats("p.q.input_scale_2", {}, {1.7f});
  const Example e(tensors, {{"config", R"({"quantization_config": {"quant_method": "quark"}})"}});
  e.to("compressed-tensors");
  CHECK(weights_of(e.out)[0].input->values == std::vector<float>{1 / 1.7f});
  CHECK(document(e.out, "config")["quantization_config"]["quant_method"] == "compressed-tensors");
}
