#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include <nvfp4/checkpoint.hpp>
#include <nvfp4/inspect.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/lint.hpp>

using namespace nvfp4;
namespace fs = std::filesystem;

namespace {

/// In memory where there is such a place: every output is synced.
const fs::path folder = [] {
  std::string name = fs::exists("/dev/shm") ? "/dev/shm/nvfp4-fuzz-XXXXXX" : "/tmp/nvfp4-fuzz-XXXXXX";
  if (!::mkdtemp(name.data())) std::abort();
  return fs::path(name);
}();
const fs::path in = folder / "in";

template <class Act>
bool refused(Act act) {
  try {
    act();
    return false;
  } catch (const io::FileError&) {
  } catch (const std::invalid_argument&) {
  }
  return true;
}

void spill(const fs::path& path, std::string_view text) { std::ofstream(path, std::ios::binary) << text; }

/// Up to the next NUL, which is taken, too.
std::string_view taken(std::string_view& text) {
  const std::size_t end = std::min(text.find('\0'), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

/// Where the header's last tensor ends, as far as it is likely to be one.
std::size_t size_of_tensors(std::string_view header) {
  constexpr std::size_t most = 1 << 14;
  std::size_t size = 0;
  constexpr std::string_view key = "data_offsets\":[";
  for (std::size_t at = header.find(key); at != header.npos; at = header.find(key, at + 1)) {
    const std::size_t comma = header.find(',', at);
    if (comma == header.npos) break;
    size = std::max<std::size_t>(
        size, std::strtoul(std::string(header.substr(comma + 1, 20)).c_str(), nullptr, 10));
  }
  return std::min(size, most);
}

/// The header's length before it and bytes of every kind after it.
void write_safetensors(const fs::path& path, std::string_view header) {
  const std::uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  file += header;
  const std::size_t size = size_of_tensors(header);
  for (std::size_t i = 0; i < size; ++i) file += static_cast<char>(i * 37 + (i >> 8) * 11 + 56);
  spill(path, file);
}

}  // namespace

/// Finding out what the dialects never make takes longer than any input may.
extern "C" int LLVMFuzzerInitialize(int*, char***) {
  std::atexit([] { fs::remove_all(folder); });
  fs::create_directory(in);
  write_safetensors(in / "model.safetensors",
                    R"({"p.weight":{"dtype":"U8","shape":[2,8],"data_offsets":[0,16]},)"
                    R"("p.weight_scale":{"dtype":"F8_E4M3","shape":[2,1],"data_offsets":[16,18]},)"
                    R"("p.weight_scale_2":{"dtype":"F32","shape":[],"data_offsets":[18,22]}})");
  inspect_checkpoint(in.string(), 1);
  return 0;
}

/// A byte that picks a format, then config.json, NUL, hf_quant_config.json, NUL, and a GGUF file or the header of a
/// safetensors file. What could be converted can be read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto formats = checkpoint_formats();
  const std::string format(formats[data[0] % formats.size()]);
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  fs::remove_all(in);
  fs::create_directory(in);
  for (const char* document : {"config.json", "hf_quant_config.json"})
    if (const std::string_view text = taken(rest); !text.empty()) spill(in / document, text);
  if (rest.starts_with("GGUF"))
    spill(in / "model.gguf", rest);
  else
    write_safetensors(in / "model.safetensors", rest);

  refused([&] { inspect_checkpoint(in.string(), 1); });
  refused([&] { lint_checkpoint(in.string(), {.threads = 1}); });
  const std::string out = folder / (format == "gguf" ? "out.gguf" : "out.safetensors"),
                    values = folder / "values.safetensors";
  const bool converted = !refused([&] {
    convert_checkpoint(in.string(), {out, io::Overwrite::yes}, {format, {}, true});
  });
  if (converted) inspect_checkpoint(out, 1);
  const bool decoded = !refused([&] {
    dequantize_checkpoint(in.string(), {values, io::Overwrite::yes}, Dtype::fp32, cpu_kernels());
  });
  if (decoded) io::open_arrays(values);
  return 0;
}
