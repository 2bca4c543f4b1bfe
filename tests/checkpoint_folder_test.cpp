#include <doctest/doctest.h>

#include <signal.h>

#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <thread>

#include <nlohmann/json.hpp>
#include <nvfp4/checkpoint.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/program.hpp"
#include "tests/scratch.hpp"

using namespace nvfp4;
using io::ElementType;
using nlohmann::json;
using program::Arguments;
using program::has;
using program::operator+;
namespace fs = std::filesystem;

namespace {

struct Made {
  io::ArrayInfo info;
  std::vector<std::uint16_t> bf16;
};

std::mt19937& generator() {
  static std::mt19937 engine(20261126);
  return engine;
}

/// BF16 numbers of both signs over a few binades.
Made bf16(const std::string& name, std::vector<std::int64_t> shape) {
  Made made{{name, ElementType::bf16, std::move(shape)}, {}};
  made.bf16.resize(byte_size(made.info) / 2);
  for (std::uint16_t& x : made.bf16) {
    const auto word = static_cast<std::uint32_t>(generator()());
    x = static_cast<std::uint16_t>((word & 0x80FF) | (0x3C00 + (word >> 16) % 0x400));
  }
  return made;
}

void write_shard(const std::string& path, const std::vector<Made>& tensors) {
  std::vector<io::ArrayInfo> infos;
  for (const Made& t : tensors) infos.push_back(t.info);
  io::SafetensorsWriter writer(path, io::Overwrite::no, infos, {{"format", "pt"}});
  for (const Made& t : tensors) writer.append(std::as_bytes(std::span(t.bf16)));
  writer.finish();
}

/// A folder as the Hub has it: two shards with their index, config.json, and a tokenizer.
struct Model {
  const scratch::Folder folder;
  const std::string in = folder / "in", out = folder / "out";
  std::map<std::string, Made> tensors;

  explicit Model(std::int64_t width = 64, int layers = 3) {
    fs::create_directory(in);
    std::vector<std::vector<Made>> shards(2);
    shards[0] = {bf16("model.embed_tokens.weight", {32, width})};
    for (int i = 0; i < layers; ++i) {
      const std::string layer = "model.layers." + std::to_string(i) + ".";
      for (const char* name :
           {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"})
        shards[static_cast<std::size_t>(2 * i >= layers)].push_back(
            bf16(layer + name + ".weight", {width, width}));
      shards[static_cast<std::size_t>(2 * i >= layers)].push_back(
          bf16(layer + "input_layernorm.weight", {width}));
    }
    shards[1].push_back(bf16("lm_head.weight", {32, width}));
    json map = json::object();
    for (std::size_t s = 0; s < 2; ++s) {
      const std::string name = "model-0000" + std::to_string(s + 1) + "-of-00002.safetensors";
      write_shard(in + "/" + name, shards[s]);
      for (Made& t : shards[s]) map[t.info.name] = name, tensors[t.info.name] = std::move(t);
    }
    scratch::spill(in + "/model.safetensors.index.json",
                   json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump());
    scratch::spill(in + "/config.json", R"({"architectures": ["Tiny"], "torch_dtype": "bfloat16"})");
    scratch::spill(in + "/tokenizer.json", "{\"a\": 1}");
  }

  Arguments quantize(const Arguments& more = {}) const {
    return Arguments{"quantize", in, "-o", out, "--format", "modelopt"} + more;
  }
  MatrixView matrix(const std::string& name) const {
    const Made& t = tensors.at(name);
    return {t.bf16.data(), t.info.shape[0], t.info.shape[1], Dtype::bf16};
  }
};

using Files = std::map<std::string, std::string>;

/// Every file of a folder with its bytes.
Files files(const std::string& folder) {
  Files all;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    all[entry.path().filename().string()] = scratch::slurp(entry.path().string());
  return all;
}

std::vector<std::string> names(const Files& files) {
  std::vector<std::string> all;
  for (const auto& [name, bytes] : files) all.push_back(name);
  return all;
}

/// Starts the program and kills it without a warning, so long after `begun` is there.
void run_and_kill(Arguments arguments, const std::string& begun, std::chrono::microseconds after) {
  arguments.insert(arguments.begin(), NVFP4_PROGRAM);
  std::vector<std::string> environment{"OMP_WAIT_POLICY=passive"};
  pid_t child = -1;
  REQUIRE(::posix_spawn(&child, NVFP4_PROGRAM, nullptr, nullptr, program::pointers(arguments).data(),
                        program::pointers(environment).data()) == 0);
  int status = 0;
  while (!fs::exists(begun)) {
    if (::waitpid(child, &status, WNOHANG) == child) return;
    std::this_thread::yield();
  }
  std::this_thread::sleep_for(after);
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
}

/// The program in a shell that lets no file grow beyond so many KiB: what a full disk does to a write.
program::Ran run_with_file_limit(const Arguments& arguments, int kib) {
  std::string command = "trap '' XFSZ; ulimit -f " + std::to_string(kib) + "; exec " NVFP4_PROGRAM;
  for (const std::string& a : arguments) command += " '" + a + "'";
  const scratch::Folder folder;
  command += " 2> " + folder / "err";
  program::Ran ran;
  const int status = std::system(("bash -c \"" + command + "\"").c_str());
  ran.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  ran.err = scratch::slurp(folder / "err");
  return ran;
}

}  // namespace

TEST_CASE("checkpoint folder: shards, index, documents and every other file") {
  const Model model;
  REQUIRE(program::run(model.quantize({"--shard-size", "8KB"})).exit_code == 0);
  const Files out = files(model.out);
  const json index = json::parse(out.at("model.safetensors.index.json"));
  const std::size_t shards = out.size() - 5;
  CHECK(shards > 3);
  std::size_t total = 0, found = 0;
  for (const auto& [name, bytes] : out) {
    if (!name.ends_with(".safetensors")) continue;
    const io::Safetensors shard(model.out + "/" + name);
    std::size_t size = 0;
    for (const io::ArrayInfo& t : shard.tensors()) {
      CHECK(index["weight_map"].at(t.name) == name);
      size += byte_size(t), ++found;
    }
    CHECK((size <= 8000 || shard.tensors().size() == 1));
    CHECK(shard.metadata().at("format") == "pt");
    total += size;
  }
  CHECK(index["weight_map"].size() == found);
  CHECK(index["metadata"]["total_size"] == total);
  CHECK(out.at("tokenizer.json") == "{\"a\": 1}");
  CHECK(json::parse(out.at("config.json")).at("architectures") == json{"Tiny"});
  CHECK(json::parse(out.at("hf_quant_config.json")).at("quantization").at("exclude_modules") ==
        json{"lm_head", "model.embed_tokens"});
  const json digests = json::parse(out.at("nvfp4_provenance.json")).at("input_sha256");
  CHECK(digests.size() == 2);
  for (const auto& [name, digest] : digests.items())
    CHECK(digest == io::sha256(io::read_bytes(model.in + "/" + name).view()));
  CHECK(model.folder.entries() == 2);
}

TEST_CASE("checkpoint folder: the same tensors whatever the shards, and from an index or a folder") {
  const Model model;
  const std::string one = model.folder / "one.safetensors";
  REQUIRE(program::run(model.quantize()).exit_code == 0);
  CHECK(names(files(model.out)) == std::vector<std::string>{"config.json", "hf_quant_config.json",
                                                            "model.safetensors", "nvfp4_provenance.json",
                                                            "tokenizer.json"});
  REQUIRE(program::run(
              {"quantize", model.in + "/model.safetensors.index.json", "-o", one, "--format", "modelopt"})
              .exit_code == 0);
  const io::Safetensors whole(one), folder(model.out + "/model.safetensors");
  CHECK(whole.names().size() == folder.names().size());
  for (const std::string& name : whole.names())
    CHECK(std::ranges::equal(whole.read(name).bytes.view(), folder.read(name).bytes.view()));
}

TEST_CASE("checkpoint folder: siblings share the scale of their joint amax where that is asked for") {
  const Model model;
  REQUIRE(program::run(model.quantize({"--shared-scale"})).exit_code == 0);
  const io::Safetensors out(model.out + "/model.safetensors");
  for (const auto& set :
       {std::vector<std::string>{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
        {"mlp.gate_proj", "mlp.up_proj"}}) {
    float amax = 0;
    for (const std::string& name : set)
      amax = std::max(amax, reference_kernels().amax(model.matrix("model.layers.1." + name + ".weight"),
                                                     dialects::modelopt::info));
    for (const std::string& name : set) {
      const std::string weight = "model.layers.1." + name + ".weight";
      CAPTURE(weight);
      QuantizeSpec spec = default_spec(dialects::modelopt::info);
      spec.amax = amax;
      const auto expected = reference_kernels().quantize(model.matrix(weight), spec, {});
      CHECK(out.read(weight + "_scale_2").f32(std::vector<std::int64_t>{})[0] == expected.global[0]);
      CHECK(std::ranges::equal(out.read(weight).bytes.view(), std::as_bytes(std::span(expected.codes))));
      CHECK(std::ranges::equal(out.read(weight + "_scale").bytes.view(),
                               std::as_bytes(std::span(expected.scales))));
    }
  }
}

TEST_CASE("checkpoint folder: the input's scale from its calibrated amax") {
  const Model model;
  const std::string stats = model.folder / "stats.json";
  scratch::spill(stats, R"({"model.layers.0.mlp.up_proj": 12.5, "model.layers.0.mlp.gate_proj": 12.5})");
  REQUIRE(program::run(model.quantize({"--input-amax", stats})).exit_code == 0);
  const io::Safetensors out(model.out + "/model.safetensors");
  CHECK(out.read("model.layers.0.mlp.up_proj.input_scale").f32(std::vector<std::int64_t>{})[0] ==
        12.5f / 2688);
  CHECK(!out.contains("model.layers.1.mlp.up_proj.input_scale"));
  const auto refused = [&](const std::string& text) {
    scratch::spill(stats, text);
    return program::refusal(model.quantize({"--force", "--input-amax", stats}));
  };
  CHECK(has(refused("[1]"), "stats.json: expected a JSON object of module names and numbers"));
  CHECK(has(refused(R"({"a": "b"})"), "'a': expected a number, found \"b\""));
  CHECK(has(refused(R"({"no.such": 1})"), "input amax of 'no.such': no weight of that module is quantized"));
  CHECK(has(refused(R"({"model.layers.0.mlp.up_proj": 0})"), "expected a positive finite number"));
}

TEST_CASE("checkpoint folder: killed at any moment, it is absent, and resumed it has the same bytes") {
  const Model model(512, 6);
  const Arguments quantize = model.quantize({"--shard-size", "200KB", "--threads", "1"});
  REQUIRE(program::run(quantize).exit_code == 0);
  const Files expected = files(model.out);
  fs::remove_all(model.out);
  int resumed = 0;
  for (int attempt = 0; attempt < 12; ++attempt) {
    const bool early = attempt % 4 == 0;  // perhaps before there is anything
    run_and_kill(quantize, early ? model.in : model.out + ".partial",
                 std::chrono::microseconds(generator()() % 40000));
    const bool whole = fs::exists(model.out);
    if (whole) CHECK((files(model.out) == expected));
    resumed += fs::exists(model.out + ".partial");
    const program::Ran ran =
        program::run(quantize + Arguments{"--resume"} + (whole ? Arguments{"--force"} : Arguments{}));
    CAPTURE(ran.err);
    REQUIRE(ran.exit_code == 0);
    CHECK((files(model.out) == expected));
    CHECK(!fs::exists(model.out + ".partial"));
    fs::remove_all(model.out);
  }
  CHECK(resumed > 0);
}

TEST_CASE("checkpoint folder: a disk that fills up leaves the parts, and resuming keeps whole shards") {
  const Model model(256);
  const Arguments quantize = model.quantize({"--shard-size", "100KB"});
  REQUIRE(program::run(quantize).exit_code == 0);
  const Files expected = files(model.out);
  fs::remove_all(model.out);
  const program::Ran ran = run_with_file_limit(quantize, 64);
  CHECK(ran.exit_code == 2);
  CHECK(has(ran.err, "bytes to be written at byte"));
  CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
  CHECK(!fs::exists(model.out));
  CHECK(fs::exists(model.out + ".partial"));
  for (const auto& [name, bytes] : files(model.out + ".partial")) CHECK(!name.ends_with(".tmp"));
  REQUIRE(program::run(quantize + Arguments{"--resume"}).exit_code == 0);
  CHECK((files(model.out) == expected));

  const std::string one = model.folder / "one.safetensors";
  CHECK(run_with_file_limit({"quantize", model.in, "-o", one, "--format", "modelopt"}, 64).exit_code == 2);
  CHECK(!fs::exists(one));
  CHECK(model.folder.entries() == 2);
}

TEST_CASE("checkpoint folder: resuming keeps what is whole, and refuses what another run left") {
  const Model model;
  const Arguments quantize = model.quantize({"--shard-size", "4KB"});
  const std::string partial = model.out + ".partial";
  REQUIRE(program::run(quantize).exit_code == 0);
  const Files expected = files(model.out);
  // As a killed run leaves it: some shards, a temporary, and the plan.
  const auto left_behind = [&](const Arguments& by) {
    fs::remove_all(partial);
    run_with_file_limit(by, 2);
    REQUIRE(fs::exists(partial + "/.plan"));
  };
  fs::remove_all(model.out);
  left_behind(quantize);
  const std::string shard = expected.begin()->first;
  for (const auto& [name, bytes] : expected)
    if (name.ends_with("2-of-00012.safetensors") || name.ends_with("00002.safetensors"))
      scratch::spill(partial + "/" + name, bytes);
  scratch::spill(partial + "/.model.1-0.tmp", "half");
  REQUIRE(program::run(quantize + Arguments{"--resume"}).exit_code == 0);
  CHECK((files(model.out) == expected));

  fs::remove_all(model.out);
  left_behind(quantize);
  CHECK(has(program::refusal(quantize + Arguments{"--resume", "--dialect", "te"}),
            "out.partial: --resume: expected what was left by the same input, options and version, found "
            "another run's"));
  fs::last_write_time(model.in + "/model-00001-of-00002.safetensors", fs::file_time_type::clock::now());
  CHECK(has(program::refusal(quantize + Arguments{"--resume"}),
            "--resume: expected what was left by the same input"));
  REQUIRE(program::run(quantize).exit_code == 0);
  CHECK(has(program::refusal({"quantize", model.in, "-o", model.folder / "x.safetensors", "--format",
                              "modelopt", "--resume"}),
            "x.safetensors: only a folder is written in parts"));
}

TEST_CASE("checkpoint folder: only a checkpoint of this program's is replaced, and only by --force") {
  const Model model;
  REQUIRE(program::run(model.quantize()).exit_code == 0);
  CHECK(has(program::refusal(model.quantize()), "out: output: expected no folder of that name"));
  REQUIRE(program::run(model.quantize({"--force", "--dialect", "te"})).exit_code == 0);
  CHECK(json::parse(scratch::slurp(model.out + "/nvfp4_provenance.json")).at("dialect") == "te");
  fs::create_directory(model.out + "/mine");
  CHECK(has(program::refusal(model.quantize({"--force"})),
            "out: output: expected a checkpoint that nvfp4 wrote, to be replaced, found something else"));
  CHECK(fs::exists(model.out + "/mine"));
  const std::string other = model.folder / "other";
  fs::create_directory(other);
  scratch::spill(other + "/a", "mine");
  CHECK(has(program::refusal({"quantize", model.in, "-o", other, "--format", "modelopt", "--force"}),
            "something else"));
  CHECK(scratch::slurp(other + "/a") == "mine");
}

TEST_CASE("checkpoint folder: an input that is not whole is refused by name, and nothing is left") {
  const std::string second = "model-00002-of-00002.safetensors";
  const auto refused = [&](auto harm) {
    const Model model;
    harm(model);
    const std::string found = program::refusal(model.quantize());
    CHECK(model.folder.entries() == 1);
    return found;
  };
  CHECK(has(refused([&](const Model& m) { fs::remove(m.in + "/" + second); }),
            "in: index: expected what the shards hold, found shard '" + second + "' of"));
  CHECK(has(refused([&](const Model& m) {
              fs::resize_file(m.in + "/" + second, fs::file_size(m.in + "/" + second) - 1);
            }),
            second));
  CHECK(has(refused([&](const Model& m) {
              json index = json::parse(scratch::slurp(m.in + "/model.safetensors.index.json"));
              index["weight_map"]["gone.weight"] = second;
              scratch::spill(m.in + "/model.safetensors.index.json", index.dump());
            }),
            "found tensor 'gone.weight' is not in shard '" + second + "'"));
  CHECK(has(refused([&](const Model& m) {
              scratch::spill(m.in + "/model.safetensors.index.json",
                             R"({"weight_map": {"a": "../x.safetensors"}})");
            }),
            "weight_map 'a': expected a file beside it"));
  CHECK(has(refused([&](const Model& m) { scratch::spill(m.in + "/model.safetensors.index.json", "{"); }),
            "expected JSON with an object 'weight_map'"));
  CHECK(has(refused([&](const Model& m) {
              fs::remove(m.in + "/model.safetensors.index.json");
              fs::copy_file(m.in + "/" + second, m.in + "/model-copy.safetensors");
            }),
            "expected a name that no other shard has"));
}

TEST_CASE("checkpoint folder: two runs do not write one folder at once") {
  const Model model(512, 6);
  const Arguments quantize = model.quantize({"--shard-size", "200KB", "--threads", "1"});
  std::string first, second;
  std::thread other([&] { first = program::run(quantize).err; });
  while (!fs::exists(model.out + ".partial/.plan") && !fs::exists(model.out)) std::this_thread::yield();
  const program::Ran ran = program::run(quantize);
  other.join();
  CHECK(ran.exit_code == 2);
  CHECK((has(ran.err, "expected no other run at work, found one") || has(ran.err, "one that exists")));
  CHECK(first == "");
}
