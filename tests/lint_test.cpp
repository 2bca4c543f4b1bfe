#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>

#include <nlohmann/json.hpp>
#include <nvfp4/checkpoint.hpp>
#include <nvfp4/layout.hpp>
#include <nvfp4/lint.hpp>

#include "tests/layered_model.hpp"
#include "tests/program.hpp"
#include "tests/scratch.hpp"
#include "tests/tensor_file.hpp"

using namespace nvfp4;
using io::ElementType;
using nlohmann::json;
using program::Arguments;
using program::has;
using program::run;
using scratch::TensorFile;
namespace fs = std::filesystem;

namespace {

const std::string victim = "model.layers.1.mlp.down_proj.weight";
const std::string layer = "model.layers.1.";

/// A clean checkpoint in ModelOpt's names, of weights whose rows and columns differ as real ones do.
struct Clean {
  const scratch::Folder folder;
  const std::string model = folder / "quantized";

  Clean() {
    fs::create_directory(folder / "in");
    layered::write(folder / "in/model.safetensors", {.rows = 0.3, .columns = 0.6});
    quantize_checkpoint(folder / "in", {.path = model}, {.shared_scale = true}, cpu_kernels());
  }
};

/// A copy of it, and what is done to the copy.
struct Harmed {
  explicit Harmed(const std::string& name = "harmed") : path(folder / name) {
    static const Clean clean;
    fs::copy(clean.model, path, fs::copy_options::recursive);
  }
  std::string file() const { return path + "/model.safetensors"; }
  std::string document() const { return path + "/hf_quant_config.json"; }
  void tensors(const std::function<void(TensorFile&)>& change) const {
    TensorFile all(file());
    change(all);
    all.write(file());
  }
  void declared(const std::function<void(json&)>& change) const {
    json config = json::parse(scratch::slurp(document()));
    change(config["quantization"]);
    scratch::spill(document(), config.dump());
  }
  std::vector<Finding> findings() const { return lint_checkpoint(path); }

  const scratch::Folder folder;
  const std::string path;
};

std::string text_of(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& f : findings) text += std::string(f.rule->code) + " " + f.place + ": " + f.text + "\n";
  return text;
}

/// Findings, of which all have that code and place and one at least is.
void check_only(const std::vector<Finding>& found, std::string_view code, const std::string& place) {
  CAPTURE(text_of(found));
  CHECK(!found.empty());
  for (const Finding& f : found) {
    CHECK(f.rule->code == code);
    CHECK(f.place == place);
  }
}

void check_tensors(std::string_view code, const std::string& place,
                   const std::function<void(TensorFile&)>& change) {
  CAPTURE(code);
  const Harmed harmed;
  harmed.tensors(change);
  check_only(harmed.findings(), code, place);
}

void check_document(std::string_view code, const std::string& place,
                    const std::function<void(json&)>& change) {
  CAPTURE(code);
  const Harmed harmed;
  harmed.declared(change);
  check_only(harmed.findings(), code, place);
}

float e4m3(int code) {
  return static_cast<float>(code >> 3 ? std::ldexp(8 + (code & 7), (code >> 3) - 10) : std::ldexp(code, -9));
}

/// The nearest code of a number up to 448, by search.
std::uint8_t nearest_e4m3(float x) {
  int best = 0;
  for (int code = 1; code < 0x7F; ++code)
    if (std::fabs(e4m3(code) - x) < std::fabs(e4m3(best) - x)) best = code;
  return static_cast<std::uint8_t>(best);
}

/// As the layout has them, in a tensor of the tiles' size.
void swizzle(TensorFile& all, const std::string& weight) {
  auto& scales = all.at(weight + "_scale");
  const std::int64_t rows = scales.info.shape[0], cols = scales.info.shape[1];
  const ScaleExtent extent = padded(ScaleLayout::tiled_128x4, rows, cols);
  scales.bytes = to_layout(ScaleLayout::tiled_128x4, scales.bytes, rows, cols);
  scales.info.shape = {extent.rows, extent.cols};
}

}  // namespace

TEST_CASE("lint: clean checkpoints of every convention are silent, info included") {
  for (const layered::Spread& spread : {layered::Spread{0, 0}, {0.3, 0.6}, {1.5, 1.5}}) {
    const scratch::Folder folder;
    fs::create_directory(folder / "in");
    layered::write(folder / "in/model.safetensors", spread);
    scratch::spill(folder / "in/config.json", R"({"model_type": "llama"})");
    for (const std::string_view format : checkpoint_formats())
      for (const bool calibrated : {false, true}) {
        CAPTURE(format);
        CAPTURE(calibrated);
        CAPTURE(spread.rows);
        CheckpointOptions options{.format = std::string(format), .shared_scale = format != "mxfp4"};
        if (format == (calibrated ? "mxfp4" : "auto-round")) continue;  // which have no such form
        for (const layered::Matrix& m : layered::matrices())
          if (calibrated && m.name.find("layers") != std::string::npos)
            options.input_amax[m.name.substr(0, m.name.rfind('.'))] = 12;
        const std::string out =
            folder / (std::string(format) + (calibrated ? "-w4a4" : "") + (format == "gguf" ? ".gguf" : ""));
        quantize_checkpoint(folder / "in", {.path = out}, options, cpu_kernels());
        CHECK(text_of(lint_checkpoint(out)) == "");
      }
  }
}

TEST_CASE("lint: a checkpoint without block scales is silent") {
  const scratch::Folder folder;
  layered::write(folder / "model.safetensors");
  CHECK(lint_checkpoint(folder / "model.safetensors").empty());
}

TEST_CASE("lint: NV001, a second-level scale in the other direction, of one weight or of all") {
  const std::string scale = victim + "_scale_2";
  check_tensors("NV001", victim, [&](TensorFile& t) { t.set(scale, 1 / t.number(scale)); });
  const Harmed all;
  all.tensors([](TensorFile& t) {
    for (const auto& one : t.all)
      if (one.info.name.ends_with("_scale_2")) t.set(one.info.name, 1 / t.number(one.info.name));
  });
  const auto found = all.findings();
  CHECK(found.size() == 6 * layered::layers);
  for (const Finding& f : found) CHECK(f.rule->code == "NV001");
}

TEST_CASE("lint: NV002, a second-level scale squared, or in the block scales already") {
  const std::string scale = victim + "_scale_2";
  check_tensors("NV002", victim, [&](TensorFile& t) { t.set(scale, t.number(scale) * t.number(scale)); });
  check_tensors("NV002", victim, [&](TensorFile& t) {
    for (std::uint8_t& byte : t.at(victim + "_scale").bytes)
      byte = nearest_e4m3(e4m3(byte) * t.number(scale));
  });
}

TEST_CASE("lint: NV003, siblings with different second-level scales, by both choices of an engine") {
  const Harmed harmed;
  harmed.tensors([&](TensorFile& t) {
    const std::string scale = layer + "self_attn.k_proj.weight_scale_2";
    t.set(scale, 2.14f * t.number(scale));
  });
  const auto found = harmed.findings();
  check_only(found, "NV003", layer + "self_attn.q_proj.weight");
  REQUIRE(found.size() == 1);
  CHECK(has(found[0].text, "differ by 2.14"));
  CHECK(has(found[0].text, "(error 114%)"));
  CHECK(has(found[0].text, "(error 53%)"));
}

TEST_CASE("lint: NV004 and NV013 name the block") {
  for (const auto& [byte, code] :
       {std::pair<std::uint8_t, const char*>{0x7F, "NV004"}, {0xFF, "NV004"}, {0xB0, "NV013"}}) {
    const Harmed harmed;
    harmed.tensors([&, value = byte](TensorFile& t) { t.at(victim + "_scale").bytes[3 * 12 + 2] = value; });
    const auto found = harmed.findings();
    check_only(found, code, victim);
    REQUIRE(found.size() == 1);
    REQUIRE(found[0].first);
    CHECK(found[0].first->row == 3);
    CHECK(found[0].first->block == 2);
    CHECK(has(found[0].text, "1 of 1920 block scales"));
    CHECK(has(found[0].text, "row 3, block 2 (columns 32 to 47)"));
  }
}

TEST_CASE("lint: NV005 and NV014, numbers that no second-level scale should be") {
  for (const float value : {0.f, -1e-4f, INFINITY, NAN})
    check_tensors("NV005", victim, [&](TensorFile& t) { t.set(victim + "_scale_2", value); });
  for (const float value : {1e-39f, 2e38f}) {
    CAPTURE(value);
    const Harmed harmed;
    harmed.tensors([&](TensorFile& t) { t.set(victim + "_scale_2", value); });
    const auto found = harmed.findings();
    CAPTURE(text_of(found));
    CHECK(std::any_of(found.begin(), found.end(), [](const Finding& f) { return f.rule->code == "NV014"; }));
  }
}

TEST_CASE("lint: NV006, block scales in another layout, by their size and by their rows and columns") {
  check_tensors("NV006", victim, [](TensorFile& t) { swizzle(t, victim); });
  const std::string up = layer + "mlp.up_proj.weight";
  check_tensors("NV006", up, [&](TensorFile& t) { swizzle(t, up); });
  check_tensors("NV006", up, [&](TensorFile& t) {
    auto& scales = t.at(up + "_scale").bytes;
    scales = from_layout(ScaleLayout::tiled_128x4, scales, 384, 16);
  });
}

TEST_CASE("lint: NV007, bytes in the padding of tiles, where the checkpoint says that it is tiled") {
  const auto comfy = [](TensorFile& t) {
    t.metadata["_quantization_metadata"] = R"({"format_version": "1.0", "layers": {}})";
    swizzle(t, victim);
  };
  const Harmed clean;
  clean.tensors(comfy);
  CHECK(text_of(clean.findings()) == "");
  const Harmed harmed;
  harmed.tensors([&](TensorFile& t) {
    comfy(t);
    t.at(victim + "_scale").bytes[static_cast<std::size_t>(offset(ScaleLayout::tiled_128x4, 200, 5, 12))] =
        0x55;
  });
  const auto found = harmed.findings();
  check_only(found, "NV007", victim);
  CHECK(has(found[0].text, "padded row 200, block 5"));
}

TEST_CASE("lint: NV008, declared NVFP4 and stored as FP8 or BF16") {
  check_tensors("NV008", victim, [](TensorFile& t) {
    auto& codes = t.at(victim);
    codes.info = {victim, ElementType::f8_e4m3, {160, 192}};
    codes.bytes.assign(160 * 192, 0x30);
    auto& scale = t.at(victim + "_scale");
    scale.info = {victim + "_scale", ElementType::f32, {}};
    scale.bytes = {0, 0, 0x80, 0x3F};
    t.erase(victim + "_scale_2");
  });
  const Harmed harmed;
  fs::copy(harmed.document(), harmed.folder / "hf_quant_config.json");
  fs::remove(harmed.file());
  layered::write(harmed.file());
  const auto found = harmed.findings();
  check_only(found, "NV008", "hf_quant_config.json");
  CHECK(has(found[0].text, "32 bits per parameter"));
}

TEST_CASE("lint: NV009, missing and orphaned tensors") {
  for (const char* part : {"", "_scale", "_scale_2"})
    check_tensors("NV009", victim, [&](TensorFile& t) { t.erase(victim + part); });
}

TEST_CASE("lint: NV010, excluded modules that are quantized, and others that are not") {
  check_document("NV010", victim,
                 [](json& q) { q["exclude_modules"].push_back("model.layers.1.mlp.down*"); });
  check_document("NV010", "lm_head.weight", [](json& q) { q["exclude_modules"] = json::array(); });
}

TEST_CASE("lint: excluded modules, by the patterns of loaders") {
  for (const char* entry : {"lm_head", "lm_head*", "*head", "l?_head"}) {
    const Harmed harmed;
    harmed.declared([&](json& q) { q["exclude_modules"] = json::array({entry}); });
    CHECK(text_of(harmed.findings()) == "");
  }
  const scratch::Folder folder;
  layered::write(folder / "in.safetensors");
  const std::string out = folder / "out.safetensors";
  quantize_checkpoint(folder / "in.safetensors", {.path = out},
                      {.format = "compressed-tensors", .shared_scale = true}, cpu_kernels());
  const auto with = [&](const json& ignored) {
    TensorFile file(out);
    json config = json::parse(file.metadata.at("quantization_config"));
    config["ignore"] = ignored;
    file.metadata["quantization_config"] = config.dump();
    file.write(folder / "changed.safetensors");
    return lint_checkpoint(folder / "changed.safetensors");
  };
  for (const char* entry : {"lm_head", "re:lm_head", "re:.*head$", "re:lm", "re:(?P<x>.*)"})
    CHECK(text_of(with(json::array({entry}))) == "");
  // One over which another matcher takes exponential time, and one that is not understood: all is then in doubt.
  for (const std::string& entry : {std::string("re:(.*.*)*x"), "re:" + std::string(2000, '(')})
    CHECK(text_of(with(json::array({entry, "re:(l|l)*m_head"}))) == "");
  check_only(with(json::array({"lm_hea"})), "NV010", "lm_head.weight");
  check_only(with(json::array({"re:head.*$", "lm_head", "re:.*layers[.]1[.]mlp[.]down_proj"})), "NV010",
             victim);
}

TEST_CASE("lint: NV011, nibbles of gate and up in different orders") {
  const std::string gate = layer + "mlp.gate_proj.weight", up = layer + "mlp.up_proj.weight";
  const auto swap = [](TensorFile& t, const std::string& name) {
    for (std::uint8_t& byte : t.at(name).bytes) byte = static_cast<std::uint8_t>(byte << 4 | byte >> 4);
  };
  check_tensors("NV011", up, [&](TensorFile& t) { swap(t, up); });
  check_tensors("NV011", up, [&](TensorFile& t) { swap(t, gate); });  // the two do not tell which
  const Harmed all;
  all.tensors([&](TensorFile& t) {
    for (const layered::Matrix& m : layered::matrices())
      if (m.name.find("layers") != std::string::npos) swap(t, m.name);
  });
  CHECK(text_of(all.findings()) == "");
}

TEST_CASE("lint: NV012, an index that names what the shards have not") {
  for (const std::string shard : {"model.safetensors", "model-00002-of-00002.safetensors"}) {
    const Harmed harmed;
    json map{{"ghost.weight", shard}};
    for (const auto& one : TensorFile(harmed.file()).all) map[one.info.name] = "model.safetensors";
    scratch::spill(harmed.path + "/model.safetensors.index.json", json{{"weight_map", map}}.dump());
    check_only(harmed.findings(), "NV012", "index");
  }
}

TEST_CASE("lint: NV015 and NV016, scale tensors of another type or shape") {
  check_tensors("NV015", victim, [](TensorFile& t) { t.at(victim + "_scale").info.type = ElementType::u8; });
  check_tensors("NV015", victim, [](TensorFile& t) {
    auto& second = t.at(victim + "_scale_2");
    second.info.type = ElementType::bf16;
    second.bytes = {0x80, 0x38};
  });
  check_tensors("NV016", victim, [](TensorFile& t) {
    auto& scales = t.at(victim + "_scale");
    scales.info.shape = {160, 4};
    scales.bytes.resize(160 * 4);
  });
  check_tensors("NV016", layer + "mlp.up_proj.weight", [](TensorFile& t) {
    t.at(layer + "mlp.up_proj.weight_scale").info.shape = {16, 384};
  });
  check_tensors("NV016", victim, [](TensorFile& t) {
    auto& second = t.at(victim + "_scale_2");
    second.info.shape = {2};
    second.bytes.resize(8);
  });
}

TEST_CASE("lint: NV017, NV018: a weight of zeros, and scales that leave the top of E4M3 unused") {
  check_tensors("NV017", victim, [](TensorFile& t) { t.at(victim).bytes.assign(160 * 96, 0x80); });
  check_tensors("NV018", victim, [](TensorFile& t) {
    for (std::uint8_t& byte : t.at(victim + "_scale").bytes) byte = byte > 24 ? byte - 16 : byte;
    t.set(victim + "_scale_2", 4 * t.number(victim + "_scale_2"));
  });
}

TEST_CASE("lint: NV019 to NV022, documents that say what is not there") {
  const std::string document = "hf_quant_config.json";
  check_document("NV019", document, [](json& q) { q["group_size"] = 32; });
  check_tensors("NV019", victim, [](TensorFile& t) {  // as W4A8_NVFP4_FP8 has them
    auto& scales = t.at(victim + "_scale");
    scales.info.shape = {160, 6};
    scales.bytes.resize(160 * 6);
  });
  check_document("NV020", document, [](json& q) { q["kv_cache_quant_algo"] = "FP8"; });
  check_document("NV021", document, [](json& q) { q["quant_algo"] = "NVFP4"; });
  const Harmed harmed;
  scratch::spill(
      harmed.path + "/config.json",
      R"({"quantization_config": {"quant_method": "compressed-tensors", "format": "float-quantized"}})");
  check_only(harmed.findings(), "NV022", "config.json");
}

TEST_CASE("lint: findings do not depend on threads, and codes can be left out") {
  const Harmed harmed;
  harmed.tensors([](TensorFile& t) {
    for (const auto& one : t.all)
      if (one.info.name.ends_with("weight_scale")) t.at(one.info.name).bytes[5] = 0x7F;
  });
  const std::string one = text_of(lint_checkpoint(harmed.path, {.threads = 1}));
  CHECK(!one.empty());
  CHECK(text_of(lint_checkpoint(harmed.path, {.threads = 7})) == one);
  CHECK(lint_checkpoint(harmed.path, {.ignored = {"NV004"}}).empty());
  CHECK_THROWS_AS(lint_checkpoint(harmed.path, {.ignored = {"NV999"}}), std::invalid_argument);
}

TEST_CASE("lint: codes are stable, in order, and have a hint each") {
  int number = 0;
  for (const LintRule& rule : lint_rules()) {
    char code[16];
    std::snprintf(code, sizeof code, "NV%03d", ++number);
    CHECK(rule.code == code);
    CHECK(!rule.title.empty());
    CHECK(!rule.hint.empty());
    CHECK(&lint_rule(rule.code) == &rule);
  }
  CHECK(number == 22);
}

TEST_CASE("lint: docs/lint.md has the table of codes") {
  const std::string page = scratch::slurp(std::string(NVFP4_SOURCE_DIR) + "/docs/lint.md");
  for (const LintRule& rule : lint_rules())
    CHECK(has(page, "| " + std::string(rule.code) + " | " + std::string(name(rule.severity)) + " | " +
                        std::string(rule.title) + " |"));
}

TEST_CASE("lint: the program's exit codes, JSON and baseline") {
  const Harmed clean("clean"), harmed, mild("mild");
  harmed.tensors([](TensorFile& t) { t.at(victim + "_scale").bytes[38] = 0x7F; });
  mild.tensors([](TensorFile& t) {
    for (std::uint8_t& byte : t.at(victim + "_scale").bytes) byte = byte > 24 ? byte - 16 : byte;
    t.set(victim + "_scale_2", 4 * t.number(victim + "_scale_2"));
  });
  const auto ran = run({"lint", clean.path});
  CHECK(ran.exit_code == 0);
  CHECK(ran.out == "0 errors, 0 warnings\n");
  CHECK(run({"lint", mild.path}).exit_code == 0);
  CHECK(run({"lint", mild.path, "--strict"}).exit_code == 1);
  CHECK(has(program::refusal({"lint", clean.path + "/none"}), "none"));
  CHECK(has(program::refusal({"lint"}), "--codes"));
  CHECK(has(program::refusal({"lint", clean.path, "--ignore", "NV1"}), "NV1"));

  const auto found = run({"lint", harmed.path});
  CHECK(found.exit_code == 1);
  CHECK(has(found.out, "NV004 error " + victim));
  CHECK(found.out.ends_with("1 error, 0 warnings\n"));
  const json listed = program::json({"lint", harmed.path});
  CHECK(listed.value("errors", -1) == 1);
  CHECK(listed.value("warnings", -1) == 0);
  CHECK(listed.value("/findings/0/code"_json_pointer, "") == "NV004");
  CHECK(listed.value("/findings/0/place"_json_pointer, "") == victim);
  CHECK(listed.value("/findings/0/first/row"_json_pointer, -1) == 3);
  CHECK(!listed.value("/findings/0/hint"_json_pointer, "").empty());

  const std::string baseline = harmed.folder / "known.json";
  CHECK(run({"lint", harmed.path, "--write-baseline", baseline}).exit_code == 0);
  CHECK(has(program::refusal({"lint", harmed.path, "--write-baseline", baseline}), "known.json"));
  const auto again = run({"lint", harmed.path, "--baseline", baseline});
  CHECK(again.exit_code == 0);
  CHECK(has(again.out, "0 errors, 0 warnings, 1 accepted by the baseline"));
  CHECK(run({"lint", mild.path, "--baseline", baseline, "--strict"}).exit_code == 1);
  scratch::spill(harmed.folder / "bad.json", "{}");
  CHECK(has(program::refusal({"lint", harmed.path, "--baseline", harmed.folder / "bad.json"}), "accepted"));
}

TEST_CASE("lint: --codes lists every rule") {
  const auto ran = run({"lint", "--codes"});
  CHECK(ran.exit_code == 0);
  for (const LintRule& rule : lint_rules()) CHECK(has(ran.out, rule.code));
  CHECK(program::json({"lint", "--codes"}).value("codes", json::array()).size() == lint_rules().size());
}
