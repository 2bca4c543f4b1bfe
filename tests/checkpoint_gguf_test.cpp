#include <doctest/doctest.h>

#include <algorithm>

#include <nvfp4/nvfp4.hpp>

#include "src/checkpoint/base64.hpp"
#include "src/checkpoint/gguf_blocks.hpp"
#include "tests/made_checkpoint.hpp"

using namespace nvfp4;
using namespace made;

namespace {

const std::string package = NVFP4_GOLDEN_DIR "/files/package.gguf";
const std::string package_values = NVFP4_GOLDEN_DIR "/files/package_gguf_values.npz";

using Codes = std::vector<std::uint8_t>;

std::string kept(const CheckpointSummary& s) {
  std::string text;
  for (const KeptTensor& k : s.kept) text += k.name + ": " + k.reason + "\n";
  return text;
}

std::string contents(const std::string& path, const std::string& tensor) {
  const Checkpoint c(path);
  return text_of(c.read(tensor).bytes);
}

}  // namespace

TEST_CASE("conventions: Base64 of RFC 4648") {
  for (const auto& [bytes, text] : {std::pair{"", ""},
                                    {"f", "Zg=="},
                                    {"fo", "Zm8="},
                                    {"foo", "Zm9v"},
                                    {"foob", "Zm9vYg=="},
                                    {"\xFF\xFE\xFD", "//79"}}) {
    CHECK(base64(bytes) == text);
    CHECK(from_base64(text) == bytes);
  }
  for (const char* text : {"Zg", "Zg=", "Zh==", "Z===", "====", "Zm9v\n", "Zm=v", "Zm8=Zm8="})
    CHECK(!from_base64(text));
}

TEST_CASE("conventions: GGUF's blocks, written by hand") {
  // 64 elements: of each 16, element j in the low nibble of byte j, j + 8 in the high one.
  Codes codes(32), scales{0x38, 0x40, 0x01, 0x7E}, block{0x38, 0x40, 0x01, 0x7E};
  for (int i = 0; i < 32; ++i)
    codes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i % 8 * 0x22 + 0x10);
  for (int sub = 0; sub < 4; ++sub)
    for (int j = 0; j < 8; ++j) block.push_back(static_cast<std::uint8_t>(j | (j + 8) << 4));
  CHECK(to_ggml_blocks(Format::ue4m3, codes, scales) == block);
  CHECK(from_ggml_blocks(Format::ue4m3, block).codes == codes);
  CHECK(from_ggml_blocks(Format::ue4m3, block).scales == scales);

  // 32 elements: element j in the low nibble of byte j, j + 16 in the high one.
  Codes mx_codes(16), mx_block{0x7B};
  for (int i = 0; i < 16; ++i)
    mx_codes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(i % 8 * 0x22 + 0x10);
  for (int j = 0; j < 16; ++j) mx_block.push_back(static_cast<std::uint8_t>(j * 0x11));
  CHECK(to_ggml_blocks(Format::e8m0, mx_codes, Codes{0x7B}) == mx_block);
  CHECK(from_ggml_blocks(Format::e8m0, mx_block).codes == mx_codes);
}

TEST_CASE("conventions: GGUF's tensors and the file's type") {
  const scratch::Folder folder;
  const std::string path = folder / "x.gguf";
  made::write(path, gguf_convention, examples(gguf_convention));
  CHECK(tensors_of(path) == Names{"a.input_scale F32 1", "a.scale F32 1", "a.weight NVFP4 5x128",
                                  "b.weight MXFP4 3x64", "m.experts.down MXFP4 2x3x64",
                                  "m.experts.up NVFP4 2x3x64", "m.experts.up.input_scale F32 2",
                                  "m.experts.up.scale F32 2"});
  const io::GgufMetadata metadata = io::Gguf(path).metadata();
  CHECK(metadata.number("general.file_type") == 39);
  CHECK(metadata.text("general.architecture") == "unknown");
  made::write(path, gguf_convention, {example("b.weight", Format::e8m0, {3, 64}, ScaleUse::multiplies)});
  CHECK(io::Gguf(path).metadata().number("general.file_type") == 38);
}

TEST_CASE("conventions: ggml's producer's own quantizer is what quantizes to GGUF") {
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors", out = folder / "out.gguf";
  made::write(in, {tensor("blk.0.weight", ElementType::f32, {2, 128}, 0x3F),
                   tensor("odd.weight", ElementType::f32, {2, 48}, 0x3F),
                   floats("x.norm.weight", {4}, {1, 2, 3, 4})});
  const CheckpointSummary s = quantize_checkpoint(in, {out}, {.format = "gguf"}, cpu_kernels());
  CHECK(kept(s) == "odd.weight: K is no multiple of 64, a block of GGUF's NVFP4\n");
  CHECK(tensors_of(out) == Names{"blk.0.weight NVFP4 2x128", "odd.weight F32 2x48", "x.norm.weight F32 4"});
  const Checkpoint source(in);
  const BlockScaledTensor t = cpu_kernels().quantize(io::as_matrix(source.read("blk.0.weight")),
                                                     default_spec(dialects::ggml::info), {});
  const Codes blocks = to_ggml_blocks(Format::ue4m3, t.codes, t.scales);
  CHECK((contents(out, "blk.0.weight") == std::string(blocks.begin(), blocks.end())));
}

TEST_CASE("conventions: scales that ggml takes for others are refused") {
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors";
  for (const auto& [byte, what] : {std::pair{0x7F, "0x7F is NaN"},
                                   {0xFF, "0xFF is NaN"},
                                   {0x80, "0x80 is negative"},
                                   {0xB8, "0xB8 is negative"}}) {
    StoredWeight w = example("p.weight", Format::ue4m3, {1, 64}, ScaleUse::multiplies);
    w.scales = scratch::bytes(std::string(3, 1) + static_cast<char>(byte));
    made::write(in, modelopt_convention, {w});
    CHECK(rejection([&] { convert_checkpoint(in, {folder / "out.gguf"}, {"gguf"}); }) ==
          "p.weight: block scale " + std::string(what) + ", which ggml does not read");
  }
  CHECK(folder.entries() == 1);
}

TEST_CASE("conventions: keys, values and documents go through safetensors and back") {
  const scratch::Folder folder;
  const std::string first = folder / "first.gguf", middle = folder / "middle.safetensors",
                    last = folder / "last.gguf";
  io::GgufMetadata before = io::Gguf(package).metadata();
  before.set_u32(io::gguf_alignment_key, 128);
  before.set_u32("general.file_type", 39);
  before.set_text("nvfp4.config", R"({"a": 1})");
  before.set_text("nvfp4.of somebody else", "x");
  const StoredWeight w = example("a.weight", Format::ue4m3, {5, 128}, ScaleUse::multiplies);
  const std::vector<io::Bytes> bytes = gguf_convention.store(w);
  io::GgufWriter writer(
      first, Overwrite::yes, before,
      std::vector<io::GgufTensor>{
          {"a.scale", "F32", {1}}, {"a.input_scale", "F32", {1}}, {"a.weight", "NVFP4", {5, 128}}});
  for (const io::Bytes& part : bytes) writer.append(part.view());
  writer.finish();

  convert_checkpoint(first, {middle}, {"compressed-tensors"});
  CHECK(document(middle, "config")["a"] == 1);
  CHECK(document(middle, "config").contains("quantization_config"));
  convert_checkpoint(middle, {last}, {"gguf"});
  io::GgufMetadata after = io::Gguf(last).metadata();
  CHECK(ordered_json::parse(*after.text("nvfp4.config")) == ordered_json{{"a", 1}});
  CHECK(ordered_json::parse(*after.text("nvfp4.nvfp4_provenance"))["before"]["format"] ==
        "compressed-tensors");
  for (io::GgufMetadata* metadata : {&before, &after})
    for (const char* key : {"nvfp4.config", "nvfp4.nvfp4_provenance"}) metadata->remove(key);
  CHECK(after == before);
  check_same(w, weights_of(last).at(0));
}

TEST_CASE("conventions: an entry that is no GGUF file is refused") {
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors";
  const std::vector<Made> tensors{tensor("a_blocks", ElementType::u8, {1, 2, 16}),
                                  tensor("a_scales", ElementType::u8, {1, 2}, 254)};
  made::write(in, tensors, {{"gguf", "!"}});
  CHECK(scratch::refusal([&] { convert_checkpoint(in, {folder / "out.gguf"}, {"gguf"}); }) ==
        "metadata entry 'gguf': text: expected Base64 of a GGUF file, found something else");
  made::write(in, tensors, {{"gguf", "Zm9v"}});
  CHECK(scratch::refusal([&] { convert_checkpoint(in, {folder / "out.gguf"}, {"gguf"}); }) ==
        "metadata entry 'gguf': header: expected 'GGUF', found 'foo'");
}

TEST_CASE("conventions: a GGUF file's other types are quantized, or kept as they are") {
  const scratch::Folder folder;
  const std::string out = folder / "out.gguf";
  CheckpointOptions options{.format = "gguf", .include = {"q*", "f16", "nvfp4"}, .exclude = {"q8*"}};
  const CheckpointSummary s = quantize_checkpoint(package, {out}, options, cpu_kernels());
  CHECK(kept(s) ==
        "f32: not included\nbf16: not included\nq8_0: excluded by q8*\nexperts: not included\n"
        "nvfp4: no float32, float16 or BF16\nmxfp4: not included\n");
  const io::Gguf before(package), after(out);
  for (const io::GgufTensor& t : before.tensors()) {
    CAPTURE(t.name);
    const bool quantized = t.name == "q4_0" || t.name == "q4_1" || t.name == "f16";
    CHECK(after.tensor(t.name).type == (quantized ? "NVFP4" : t.type));
    if (!quantized) CHECK((contents(out, t.name) == contents(package, t.name)));
  }
  const auto values = io::open_arrays(package_values);
  const BlockScaledTensor q4_1 =
      cpu_kernels().quantize(io::as_matrix(values->read("q4_1")), default_spec(dialects::ggml::info), {});
  const Codes blocks = to_ggml_blocks(Format::ue4m3, q4_1.codes, q4_1.scales);
  CHECK((contents(out, "q4_1") == std::string(blocks.begin(), blocks.end())));
  CHECK(after.metadata().text("general.name") == "a name, имя");
  CHECK(after.metadata().number("general.file_type") == 39);
}

TEST_CASE("conventions: where the output is no GGUF file, its other blocks are widened or refused") {
  const scratch::Folder folder;
  const std::string in = folder / "in.gguf", out = folder / "out.safetensors";
  const io::Gguf source(package);
  const auto copy = [&](const Names& names) {
    std::vector<io::GgufTensor> tensors;
    for (const std::string& name : names) tensors.push_back(source.tensor(name));
    for (io::GgufTensor& t : tensors) t.name += ".weight";
    io::GgufWriter writer(in, Overwrite::yes, source.metadata(), tensors);
    for (const std::string& name : names) writer.append(source.read(name).bytes.view());
    writer.finish();
  };
  const auto values = io::open_arrays(package_values);
  copy({"f32", "q4_1", "experts"});
  const CheckpointSummary s =
      quantize_checkpoint(in, {out}, {.format = "modelopt", .exclude = {"q4*"}}, cpu_kernels());
  CHECK(kept(s) ==
        "q4_1.weight: excluded by q4*; float32, from Q4_1\n"
        "experts.weight: no matrix; float32, from Q8_0\n");
  CHECK((contents(out, "q4_1.weight") == text_of(values->read("q4_1").bytes)));
  CHECK((contents(out, "experts.weight") == text_of(values->read("experts").bytes)));

  copy({"mxfp4", "q4_1"});
  const auto convert = [&](bool widen) {
    convert_checkpoint(in, {out, Overwrite::yes}, {"compressed-tensors", {}, widen});
  };
  CHECK(rejection([&] { convert(false); }) ==
        "tensor 'q4_1.weight': safetensors has no type Q4_1: --widen makes it float32");
  convert(true);
  CHECK((contents(out, "q4_1.weight") == text_of(values->read("q4_1").bytes)));
  dequantize_checkpoint(in, {out, Overwrite::yes}, Dtype::fp32, cpu_kernels());
  CHECK(tensors_of(out) == Names{"mxfp4.weight F32 2x64", "q4_1.weight F32 3x64"});
  copy({"nvfp4", "f32"});
  CHECK(rejection([&] {
          quantize_checkpoint(in, {out, Overwrite::yes}, {}, cpu_kernels());
        }) == "tensor 'nvfp4.weight': safetensors has no type NVFP4");
}

TEST_CASE("conventions: types that GGUF has not are refused by name") {
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors";
  const auto refusal = [&](ElementType type, const Shape& shape) {
    made::write(in, {tensor("a.weight", ElementType::f32, {1, 64}, 0x3F), tensor("b", type, shape)});
    return rejection(
        [&] { quantize_checkpoint(in, {folder / "out.gguf"}, {.format = "gguf"}, cpu_kernels()); });
  };
  CHECK(refusal(ElementType::u8, {1}) == "tensor 'b': GGUF has no type U8");
  CHECK(refusal(ElementType::i8, {1, 1, 1, 1, 1}) == "tensor 'b': GGUF has 4 dimensions at most");
  CHECK(refusal(ElementType::i64, {}).empty());
  CHECK(tensors_of(folder / "out.gguf") == Names{"a.weight NVFP4 1x64", "b I64 scalar"});
}

TEST_CASE("conventions: a GGUF file of values says of which type most are") {
  const scratch::Folder folder;
  made::write(folder / "in.gguf", gguf_convention, examples(gguf_convention));
  for (const auto& [dtype, type] : {std::pair{Dtype::fp32, 0u}, {Dtype::fp16, 1u}, {Dtype::bf16, 32u}}) {
    dequantize_checkpoint(folder / "in.gguf", {folder / "out.gguf", Overwrite::yes}, dtype, cpu_kernels());
    CHECK(io::Gguf(folder / "out.gguf").metadata().number("general.file_type") == type);
  }
}
