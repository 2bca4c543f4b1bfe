#include <doctest/doctest.h>

#include <filesystem>

#include <nlohmann/json.hpp>
#include <nvfp4/checkpoint.hpp>
#include <nvfp4/inspect.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/layered_model.hpp"
#include "tests/program.hpp"
#include "tests/scratch.hpp"
#include "tests/tensor_file.hpp"

using namespace nvfp4;
using nlohmann::json;
using program::has;
using program::run;
using scratch::TensorFile;

namespace {

const std::string name_of_one = "model.layers.1.mlp.down_proj.weight";

struct Model {
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors";

  Model() { layered::write(in); }
  std::string quantized(const std::string& format) const {
    const std::string out = folder / (format + (format == "gguf" ? ".gguf" : ".safetensors"));
    CheckpointOptions options{.format = format};
    for (const layered::Matrix& m : layered::matrices())
      if (format == "auto-round" && m.name.find("layers") != std::string::npos)  // which has no form without
        options.input_amax[m.name.substr(0, m.name.rfind('.'))] = 12;
    quantize_checkpoint(in, {.path = out}, options, cpu_kernels());
    return out;
  }
};

const TensorReport& at(const CheckpointReport& report, const std::string& name) {
  for (const TensorReport& t : report.tensors)
    if (t.name == name) return t;
  throw std::runtime_error("no tensor " + name);
}

json at(const json& inspected, const std::string& name) {
  for (const json& t : inspected.value("tensors", json::array()))
    if (t.value("name", "") == name) return t;
  return {};
}

}  // namespace

TEST_CASE("inspect: the numbers of a weight are those of its bytes") {
  const Model model;
  const std::string path = model.quantized("modelopt");
  TensorFile file(path);
  auto& scales = file.at(name_of_one + "_scale").bytes;
  scales[7] = 0, scales[8] = 3, scales[9] = 0x83, scales[10] = 0x7F;
  auto& codes = file.at(name_of_one).bytes;
  codes[0] = 0x80;
  file.write(path);

  const CheckpointReport report = inspect_checkpoint(path);
  const TensorReport& t = at(report, name_of_one);
  CHECK(t.type == "nvfp4");
  CHECK(t.shape == std::vector<std::int64_t>{160, 192});
  CHECK(t.bits_per_parameter() == 4.5 + 32.0 / (160 * 192));
  REQUIRE(t.weight);
  const WeightReport& w = *t.weight;
  CHECK(w.convention == "modelopt");
  CHECK(w.layout == "linear");
  CHECK(w.scales.blocks == 1920);
  CHECK(w.scales.zero() == 1);
  CHECK(w.scales.subnormal() == 2);
  CHECK(w.scales.nan() == 1);
  std::int64_t zeros = 0, clamped = 0;
  for (const std::uint8_t byte : codes) zeros += (byte & 7) == 0, zeros += (byte >> 4 & 7) == 0;
  for (const std::uint8_t byte : scales) clamped += byte == 0x7E;
  CHECK(w.zero_elements == zeros);
  CHECK(w.scales.clamped() == clamped);
  REQUIRE(w.second);
  const float stored = file.number(name_of_one + "_scale_2");
  CHECK(!w.second->divides);
  CHECK(w.second->stored == std::vector<float>{stored});
  CHECK(w.second->decode(0).value == stored);
  CHECK(w.second->encode(0).value == 1 / stored);
  CHECK(w.amax == doctest::Approx(2688 * stored));
}

TEST_CASE("inspect: every convention is found, declared by its own documents or types") {
  const Model model;
  for (const std::string_view format : checkpoint_formats()) {
    CAPTURE(format);
    const CheckpointReport report = inspect_checkpoint(model.quantized(std::string(format)));
    CHECK(report.convention == format);
    CHECK(report.confidence == Confidence::declared);
    CHECK(at(report, name_of_one).weight.has_value() == true);
    CHECK(at(report, "lm_head.weight").weight.has_value() == false);
  }
}

TEST_CASE("inspect: without documents, names and shapes tell, of all weights or of some") {
  const Model model;
  const std::string path = model.quantized("modelopt");
  TensorFile file(path);
  file.metadata.clear();
  file.write(path);
  CHECK(inspect_checkpoint(path).confidence == Confidence::complete);
  file.erase(name_of_one + "_scale_2");
  file.write(path);
  CHECK(inspect_checkpoint(path).confidence == Confidence::partial);
  CHECK(inspect_checkpoint(model.in).convention == "");
}

TEST_CASE("inspect: a convention that divides keeps its number, and both readings are given") {
  const Model model;
  const CheckpointReport report = inspect_checkpoint(model.quantized("compressed-tensors"));
  const WeightReport& w = *at(report, name_of_one).weight;
  REQUIRE(w.second);
  CHECK(w.second->divides);
  CHECK(w.second->encode(0).value == w.second->stored[0]);
  CHECK(w.second->decode(0).value == 1 / w.second->stored[0]);
}

TEST_CASE("inspect: bits exclude dialects, never the one that made them") {
  const scratch::Folder folder;
  layered::write(folder / "in.safetensors");
  TensorFile in(folder / "in.safetensors");  // with a block of zeros, by which producers differ
  std::fill_n(in.at(name_of_one).bytes.begin(), 64, 0);
  in.write(folder / "in.safetensors");
  for (const std::string dialect : {"modelopt", "compressed_tensors", "torchao", "te", "fouroversix_mse"}) {
    CAPTURE(dialect);
    const std::string out = folder / (dialect + ".safetensors");
    quantize_checkpoint(folder / "in.safetensors", {.path = out},
                        {.spec = default_spec(*find_dialect(dialect))}, cpu_kernels());
    const CheckpointReport report = inspect_checkpoint(out);
    REQUIRE(report.dialect);
    const auto& possible = report.dialect->possible;
    CHECK(std::find(possible.begin(), possible.end(), dialect) != possible.end());
    CHECK(report.dialect->producer == "modelopt");
    CHECK(report.dialect->producer_possible() == (dialect == "modelopt"));
  }
}

TEST_CASE("inspect: a shared second-level scale excludes nobody") {
  const Model model;
  const std::string out = model.folder / "shared.safetensors";
  quantize_checkpoint(model.in, {.path = out}, {.shared_scale = true}, cpu_kernels());
  const CheckpointReport report = inspect_checkpoint(out);
  REQUIRE(report.dialect);
  CHECK(report.dialect->producer_possible());
}

TEST_CASE("inspect: the tree folds layers that are alike, and --all does not") {
  const Model model;
  const std::string path = model.quantized("modelopt");
  const auto folded = run({"inspect", path}), all = run({"inspect", path, "--all"});
  CHECK(folded.exit_code == 0);
  CHECK(has(folded.out, "model.safetensors") == false);
  CHECK(has(folded.out, "convention modelopt: its documents or types declare it"));
  CHECK(has(folded.out, "0..3"));
  CHECK(has(folded.out, "down_proj.weight  nvfp4 (modelopt)  160 x 192  linear  4.501 bits"));
  CHECK(!has(all.out, "0..3"));
  CHECK(std::count(all.out.begin(), all.out.end(), '\n') >
        std::count(folded.out.begin(), folded.out.end(), '\n'));
}

TEST_CASE("inspect: JSON of a checkpoint") {
  const Model model;
  const json inspected = program::json({"inspect", model.quantized("modelopt")});
  CHECK(inspected.value("kind", "") == "safetensors");
  CHECK(inspected.value("convention", "") == "modelopt");
  CHECK(inspected.value("confidence", "") == "declared");
  CHECK(inspected.value("parameters", 0) > 0);
  CHECK(inspected.value("bytes", 0) > 0);
  CHECK(inspected.value("bits_per_parameter", 0.0) > 4);
  CHECK(inspected.value("/scales/blocks"_json_pointer, 0) > 1920);
  CHECK(inspected.value("/dialect/producer"_json_pointer, "") == "modelopt");
  const json weight = at(inspected, name_of_one);
  CHECK(weight.value("format", "") == "nvfp4 (modelopt)");
  CHECK(weight.value("shape", json()) == json{160, 192});
  CHECK(weight.value("layout", "") == "linear");
  for (const char* field : {"bits_per_parameter", "zero_blocks", "subnormal_blocks", "clamped_blocks",
                            "nan_blocks", "zero_elements", "scales", "second"})
    CHECK(weight.contains(field));
  CHECK(weight.value("/second/direction"_json_pointer, "") == "multiplies");
  CHECK(at(inspected, "lm_head.weight").value("format", "") == "F32");
}

TEST_CASE("inspect: a checkpoint from stdin, a folder, and what cannot be read") {
  const Model model;
  const std::string path = model.quantized("modelopt");
  CHECK(has(run({"inspect", "-"}, {.in = path}).out, "convention modelopt"));
  std::filesystem::create_directory(model.folder / "many");
  std::filesystem::copy(path, model.folder / "many/model.safetensors");
  CHECK(program::json({"inspect", model.folder / "many"}).value("folder", false));
  std::filesystem::create_directory(model.folder / "empty");
  CHECK(has(program::refusal({"inspect", model.folder / "empty"}), "empty"));
  CHECK(has(program::refusal({"inspect", model.folder / "none"}), "none"));
}
