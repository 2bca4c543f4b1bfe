#include <doctest/doctest.h>

#include <algorithm>

#include <nvfp4/layout.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/made_checkpoint.hpp"

using namespace nvfp4;
using namespace made;

TEST_CASE("conventions: every format has a name, and its producer's dialect") {
  CHECK(checkpoint_formats() == std::vector<std::string_view>{"modelopt", "compressed-tensors", "torchao",
                                                              "gguf", "mxfp4", "auto-round"});
  CHECK(producer_of("gguf").name == "ggml");
  CHECK(producer_of("mxfp4").name == "mxfp4_ceil");
  CHECK(producer_of("auto-round").name == "auto_round");
  CHECK(rejection([] { producer_of("onnx"); }) ==
        "checkpoint format onnx: expected modelopt, compressed-tensors, torchao, gguf, mxfp4, auto-round");
}

TEST_CASE("conventions: load() gives what store() took, of every kind of weight") {
  const scratch::Folder folder;
  for (const Convention* c : conventions()) {
    CAPTURE(c->name);
    std::vector<StoredWeight> all = examples(*c);
    if (c == &auto_round_convention) all.resize(1);  // one scheme a checkpoint
    const std::string path = folder / ("x" + ending(*c));
    write(path, *c, all);
    const std::vector<StoredWeight> back = weights_of(path);
    REQUIRE(back.size() == all.size());
    for (const StoredWeight& a : all) {
      const auto b = std::find_if(back.begin(), back.end(),
                                  [&](const StoredWeight& s) { return s.weight.name == a.weight.name; });
      REQUIRE((b != back.end()));
      check_same(a, *b);
      CHECK(a.second.has_value() == b->second.has_value());
      if (a.second) CHECK((a.second->use == b->second->use && a.second->values == b->second->values));
      if (a.input) CHECK((a.input->use == b->input->use && a.input->values == b->input->values));
    }
  }
}

TEST_CASE("conventions: between every two, codes and block scales are the same bits") {
  const scratch::Folder folder;
  for (const Convention* from : conventions())
    for (const Convention* to : conventions()) {
      CAPTURE(from->name);
      CAPTURE(to->name);
      std::vector<StoredWeight> all = examples(*from);
      std::erase_if(all,
                    [&](const StoredWeight& s) { return from != to && !to->obstacle(s.weight).empty(); });
      if (all.empty()) continue;
      if (from == &auto_round_convention || to == &auto_round_convention) all.resize(1);
      const std::string in = folder / ("in" + ending(*from)), out = folder / ("out" + ending(*to));
      write(in, *from, all);
      convert_checkpoint(in, {out, Overwrite::yes}, {std::string(to->name)});
      const Checkpoint c(out);
      CHECK(own_weights(c).convention == to);
      const std::vector<Weight> found = to->find(c);
      REQUIRE(found.size() == all.size());
      for (const Weight& w : found) {
        const StoredWeight b = to->load(c, w);
        const auto a = std::find_if(all.begin(), all.end(),
                                    [&](const StoredWeight& s) { return s.weight.name == w.name; });
        REQUIRE((a != all.end()));
        check_same(*a, b);
        for (std::size_t i = 0; a->second && i < a->second->values.size(); ++i) {
          const float x = a->second->values[i];
          CHECK(b.second->values.at(i) == (from->use == to->use ? x : 1 / x));
        }
      }
    }
}

TEST_CASE("conventions: a second-level scale that turns round is not the producer's own") {
  const float amax = 1.375f;
  REQUIRE(1 / (amax / 2688) != 2688 / amax);
  Example e;
  std::vector<Made> tensors = modelopt_tensors();
  tensors[0] = floats("p.q.weight_scale_2", {}, {amax / 2688});
  write(e.in, tensors);
  e.to("compressed-tensors");
  CHECK(weights_of(e.out)[0].second->values == std::vector<float>{1 / (amax / 2688)});
}

TEST_CASE("conventions: compressed-tensors' tensors and document") {
  const Example e(modelopt_tensors(), {{"config", R"({"model_type": "llama"})"}});
  e.to("compressed-tensors");
  CHECK(tensors_of(e.out) == Names{"p.lm_head.weight BF16 2x16", "p.q.bias BF16 3",
                                   "p.q.input_global_scale F32 1", "p.q.weight_global_scale F32 1",
                                   "p.q.weight_packed U8 3x32", "p.q.weight_scale F8_E4M3 3x4"});
  CHECK(document(e.out, "config").dump(1) == R"({
 "model_type": "llama",
 "quantization_config": {
  "config_groups": {
   "group_0": {
    "format": "nvfp4-pack-quantized",
    "input_activations": {
     "dynamic": "local",
     "group_size": 16,
     "num_bits": 4,
     "observer": "static_minmax",
     "scale_dtype": "torch.float8_e4m3fn",
     "strategy": "tensor_group",
     "symmetric": true,
     "type": "float"
    },
    "output_activations": null,
    "targets": [
     "Linear"
    ],
    "weights": {
     "dynamic": false,
     "group_size": 16,
     "num_bits": 4,
     "scale_dtype": "torch.float8_e4m3fn",
     "strategy": "tensor_group",
     "symmetric": true,
     "type": "float"
    }
   }
  },
  "format": "nvfp4-pack-quantized",
  "global_compression_ratio": null,
  "ignore": [
   "p.lm_head"
  ],
  "kv_cache_scheme": null,
  "moe_sparsity_config": null,
  "quant_method": "compressed-tensors",
  "quantization_status": "compressed",
  "sparsity_config": {},
  "transform_config": {},
  "version": "0.20.0"
 }
})");
}

TEST_CASE("conventions: compressed-tensors names modules where their schemes differ") {
  const scratch::Folder folder;
  StoredWeight plain = example("c.weight", Format::ue4m3, {2, 32}, ScaleUse::divides);
  plain.weight.input.reset(), plain.input.reset();
  write(folder / "x.safetensors", compressed_tensors_convention,
        {example("a.weight", Format::ue4m3, {2, 32}, ScaleUse::divides),
         example("b.weight", Format::e8m0, {2, 32}, ScaleUse::divides), plain});
  const ordered_json config = document(folder / "x.safetensors", "quantization_config");
  CHECK(config["format"] == "mixed-precision");
  CHECK(config["config_groups"]["group_0"]["targets"] == ordered_json{"c"});
  CHECK(config["config_groups"]["group_0"]["input_activations"] == nullptr);
  CHECK(config["config_groups"]["group_1"]["targets"] == ordered_json{"a"});
  CHECK(config["config_groups"]["group_2"]["targets"] == ordered_json{"b"});
  CHECK(config["config_groups"]["group_2"]["weights"]["scale_dtype"] == "torch.uint8");
  CHECK(config["config_groups"]["group_2"]["format"] == "mxfp4-pack-quantized");
}

TEST_CASE("conventions: torchao's tensors, and a word for every one of them") {
  const Example e;
  e.to("torchao");
  CHECK(tensors_of(e.out) == Names{"p.lm_head.weight BF16 2x16",
                                   "p.q._weight_act_per_tensor_scale F32 scalar",
                                   "p.q._weight_per_tensor_scale F32 scalar", "p.q._weight_qdata U8 3x32",
                                   "p.q._weight_scale F8_E4M3 3x4", "p.q.bias BF16 3"});
  const Checkpoint written(e.out);
  const io::Metadata& metadata = written.metadata();
  CHECK(metadata.at("tensor_names") == R"(["p.lm_head.weight", "p.q.bias", "p.q.weight"])");
  CHECK(metadata.at("p.q.bias") == R"({"_type": "Tensor"})");
  CHECK(metadata.at("p.q.weight") ==
        R"({"_type": "NVFP4Tensor", "_data": {"is_swizzled_scales": false, "use_triton_kernel": false, )"
        R"("act_quant_kwargs": {"_type": "QuantizeTensorToNVFP4Kwargs", "_data": {"block_size": 16, )"
        R"("is_swizzled_scales": true, "use_triton_kernel": false, "use_dynamic_per_tensor_scale": false}}, )"
        R"("block_size": 16, "orig_dtype": {"_type": "torch.dtype", "_data": "bfloat16"}}, )"
        R"("_tensor_data_names": ["per_tensor_scale", "act_per_tensor_scale", "qdata", "scale"]})");
}

TEST_CASE("conventions: each of torchao's shards speaks of all") {
  const Example e;
  convert_checkpoint(e.in, {.path = e.folder / "out", .shard_bytes = 100}, {"torchao"});
  const Checkpoint out(e.folder / "out");
  CHECK(out.files().size() == 2);
  for (const CheckpointFile& file : out.files()) {
    const auto& metadata = dynamic_cast<const io::Safetensors&>(*file.arrays).metadata();
    CHECK(metadata.at("tensor_names") == R"(["p.lm_head.weight", "p.q.bias", "p.q.weight"])");
    CHECK(metadata.contains("p.q.weight"));
  }
}

TEST_CASE("conventions: torchao's tiled scales are the linear ones and written they are linear") {
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors", out = folder / "out.safetensors";
  for (const Shape& shape : {Shape{130, 80}, Shape{2, 128, 64}}) {
    CAPTURE(shape.size());
    const StoredWeight w = example("m.w", Format::ue4m3, shape, ScaleUse::multiplies);
    const std::vector<OutputTensor> parts = torchao_convention.parts(w.weight);
    const std::vector<io::Bytes> bytes = torchao_convention.store(w);
    std::vector<Made> tensors;
    for (std::size_t i = 0; i < parts.size(); ++i) tensors.push_back({parts[i].info, text_of(bytes[i])});
    const std::string linear = text_of(w.scales);
    const auto tiled = to_layout(ScaleLayout::tiled_128x4,
                                 {reinterpret_cast<const std::uint8_t*>(linear.data()), linear.size()},
                                 w.weight.rows(), w.weight.cols() / 16);
    const std::int64_t rows = w.weight.rows() / w.weight.experts();
    tensors.back().info.shape[shape.size() - 2] = (rows + 127) / 128 * 32;
    tensors.back().info.shape.back() = (w.weight.cols() + 63) / 64 * 16;
    tensors.back().bytes.assign(tiled.begin(), tiled.end());
    write(
        in, tensors,
        {{"m.w",
          R"({"_type": "NVFP4Tensor", "_data": {"is_swizzled_scales": true, "act_quant_kwargs": {"x": 1}}})"},
         {"tensor_names", R"(["m.w"])"}});
    check_same(w, weights_of(in).at(0));
    convert_checkpoint(in, {out, Overwrite::yes}, {"torchao"});
    check_same(w, weights_of(out).at(0));
    const Checkpoint written(out);
    const auto entry = ordered_json::parse(written.metadata().at("m.w"));
    CHECK(entry["_data"]["is_swizzled_scales"] == false);
    CHECK(entry["_data"]["act_quant_kwargs"]["x"] == 1);
  }
}

TEST_CASE("conventions: torchao's loader needs a dot in every name, and no second level") {
  std::vector<Made> tensors = modelopt_tensors();
  tensors.push_back(tensor("top", ElementType::u8, {1}));
  CHECK(rejection([&] { Example(tensors).to("torchao"); }) ==
        "tensor 'top': torchao's loader reads no name without a dot");
  const Example e(
      {tensor("q._weight_qdata", ElementType::u8, {3, 32}),
       tensor("q._weight_scale", ElementType::f8_e4m3, {3, 4}, 0x7E)},
      {{"q.weight", R"({"_type": "NVFP4Tensor", "_data": {"orig_dtype": {"_data": "float16"}}})"}});
  const StoredWeight w = weights_of(e.in).at(0);
  CHECK(!w.second);
  CHECK(w.weight.original == Dtype::fp16);
  e.to("compressed-tensors");
  CHECK(weights_of(e.out)[0].second->values == std::vector<float>{1});
}

TEST_CASE("conventions: auto-round's document, and who is asked where two know the tensors") {
  const Example e;
  e.to("auto-round");
  CHECK(
      document(e.out, "quantization_config").dump() ==
      R"({"bits":4,"act_bits":4,"data_type":"nv_fp","act_data_type":"nv_fp4_with_static_gs","group_size":16,)"
      R"("act_group_size":16,"sym":true,"act_sym":true,"act_dynamic":true,"autoround_version":"0.16.1",)"
      R"("quant_method":"auto-round","packing_format":"auto_round:llm_compressor",)"
      R"("extra_config":{"p.lm_head":{"bits":16,"act_bits":16}}})");
  CHECK(own_weights(Checkpoint(e.out)).convention == &auto_round_convention);
  const std::string back = e.folder / "back.safetensors";
  convert_checkpoint(e.out, {back}, {"compressed-tensors"});
  CHECK(own_weights(Checkpoint(back)).convention == &compressed_tensors_convention);
  CHECK(tensors_of(back) == tensors_of(e.out));
  std::vector<Made> tensors = modelopt_tensors();
  tensors.erase(tensors.begin() + 1);
  CHECK(Example(tensors).refusal("auto-round") ==
        "p.q.weight: auto-round's loader needs the scale of an NVFP4 weight's input");
}

TEST_CASE("conventions: gpt-oss's tensors and document") {
  const scratch::Folder folder;
  const std::string path = folder / "x.safetensors", in = folder / "in.safetensors";
  write(path, mxfp4_convention, {example("m.experts.up", Format::e8m0, {2, 3, 64}, ScaleUse::multiplies)});
  CHECK(tensors_of(path) == Names{"m.experts.up_blocks U8 2x3x2x16", "m.experts.up_scales U8 2x3x2"});
  CHECK(document(path, "quantization_config").dump() ==
        R"({"quant_method":"mxfp4","modules_to_not_convert":[]})");
  write(in, {tensor("m.experts.up_bias", ElementType::bf16, {2, 3}),
             tensor("m.router.weight", ElementType::bf16, {2, 64}),
             tensor("m.experts.weight", ElementType::f32, {3, 64}, 0x3F)});
  quantize_checkpoint(in, {path, Overwrite::yes}, {.format = "mxfp4"}, cpu_kernels());
  CHECK(tensors_of(path) == Names{"m.experts.up_bias BF16 2x3", "m.experts.weight_blocks U8 3x2x16",
                                  "m.experts.weight_scales U8 3x2", "m.router.weight BF16 2x64"});
  CHECK(document(path, "quantization_config")["modules_to_not_convert"] == ordered_json{"m.router"});
}

TEST_CASE("conventions: what has no place is refused by name") {
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors";
  const auto refusal = [&](const Convention& from, StoredWeight w, const char* format) {
    write(in, from, {std::move(w)});
    return rejection([&] {
      convert_checkpoint(in, {folder / (format == std::string("gguf") ? "out.gguf" : "out")}, {format});
    });
  };
  const ScaleUse use = ScaleUse::multiplies;
  CHECK(refusal(modelopt_convention, example("m.w", Format::ue4m3, {2, 3, 64}, use), "compressed-tensors") ==
        in + ": m.w: packed weights have no place for a name that does not end in .weight");
  CHECK(refusal(modelopt_convention, example("m.weight", Format::ue4m3, {2, 3, 64}, use),
                "compressed-tensors") ==
        in + ": m.weight: packed weights have no place for a stack of experts");
  CHECK(refusal(modelopt_convention, example("m.weight", Format::ue4m3, {3, 48}, use), "gguf") ==
        in + ": m.weight: K is no multiple of 64, a block of GGUF's NVFP4");
  CHECK(refusal(modelopt_convention, example("m.weight", Format::ue4m3, {3, 48}, use), "mxfp4") ==
        in + ": m.weight: mxfp4 has no place for NVFP4 blocks");
  CHECK(refusal(mxfp4_convention, example("m.weight", Format::e8m0, {3, 64}, use), "modelopt") ==
        in + ": m.weight: modelopt has no place for MXFP4 blocks");
  CHECK(refusal(mxfp4_convention, example("m.weight", Format::e8m0, {3, 64}, use), "torchao") ==
        in + ": m.weight: torchao's NVFP4Tensor has no place for MXFP4 blocks");
  CHECK(rejection([&] {
          quantize_checkpoint(in, {folder / "out"}, {.spec = default_spec(dialects::mxfp8_floor::info)},
                              cpu_kernels());
        }) == "modelopt has 4-bit elements, those of mxfp8_floor are e4m3");
}

TEST_CASE("conventions: tensors of other types and shapes are no weights") {
  const std::vector<std::vector<Made>> files{
      {tensor("q.weight", ElementType::u8, {3, 32}), tensor("q.weight_scale", ElementType::u8, {3, 4}),
       floats("q.weight_scale_2", {}, {1})},
      {tensor("q.weight", ElementType::u8, {3, 32}), tensor("q.weight_scale", ElementType::f8_e4m3, {4, 3}),
       floats("q.weight_scale_2", {}, {1})},
      {tensor("q.weight", ElementType::u8, {3, 32}), tensor("q.weight_scale", ElementType::f8_e4m3, {3, 4}),
       floats("q.weight_scale_2", {2}, {1, 1})},
      {tensor("q.weight", ElementType::u8, {0, 32}), tensor("q.weight_scale", ElementType::f8_e4m3, {0, 4}),
       floats("q.weight_scale_2", {}, {1})},
      {tensor("q.weight_packed", ElementType::i8, {3, 32}),
       tensor("q.weight_scale", ElementType::f8_e4m3, {3, 4}), floats("q.weight_global_scale", {1}, {1})},
      {tensor("q.weight_packed", ElementType::u8, {3, 31}),
       tensor("q.weight_scale", ElementType::f8_e4m3, {3, 3}), floats("q.weight_global_scale", {1}, {1})},
      {tensor("q.weight_packed", ElementType::u8, {96}), tensor("q.weight_scale", ElementType::f8_e4m3, {12}),
       floats("q.weight_global_scale", {1}, {1})},
      {tensor("q._weight_qdata", ElementType::u8, {3, 32}),
       tensor("q._weight_scale", ElementType::f8_e4m3, {3, 4})},
      {tensor("q_blocks", ElementType::u8, {3, 2, 15}), tensor("q_scales", ElementType::u8, {3, 2})},
      {tensor("q_blocks", ElementType::u8, {3, 2, 16}), tensor("q_scales", ElementType::u8, {3, 3})},
      {tensor(".weight_packed", ElementType::u8, {}), tensor("_blocks", ElementType::u8, {16})},
  };
  for (std::size_t i = 0; i < files.size(); ++i) {
    CAPTURE(i);
    const Example e(files[i]);
    const Checkpoint c(e.in);
    for (const Convention* convention : conventions()) CHECK(convention->find(c).empty());
    CHECK(own_weights(c).convention == nullptr);
  }
}

TEST_CASE("conventions: documents that are not what they say change nothing") {
  for (const char* text : {"", "[", "[1]", "1", R"({"quantization_config": 1})",
                           R"({"quantization_config": {"quant_method": 3}})", R"({"_type": 3})",
                           R"({"_type": "NVFP4Tensor", "_data": 1})"}) {
    CAPTURE(text);
    const Example e(modelopt_tensors(), {{"config", text},
                                         {"quantization_config", text},
                                         {"p.q.weight", text},
                                         {"tensor_names", text},
                                         {"x.y", text},
                                         {"hf_quant_config", text}});
    CHECK(own_weights(Checkpoint(e.in)).convention == &modelopt_convention);
    e.to("modelopt");
  }
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += R"({"a":)";
  deep += "1" + std::string(100'000, '}');  // what writes it would need a stack as deep
  for (const std::string& text : {std::string("[1]"), deep})
    CHECK(rejection([&] {
            Example(modelopt_tensors(), {{"config", text}}).to("compressed-tensors");
          }) == "config.json: expected a JSON object, to put quantization_config into");
}
