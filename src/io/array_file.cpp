#include <algorithm>

#include <nvfp4/io/array.hpp>
#include <nvfp4/io/error.hpp>
#include <nvfp4/io/gguf.hpp>
#include <nvfp4/io/safetensors.hpp>

#include "gguf_cursor.hpp"
#include "npy.hpp"
#include "npz.hpp"
#include "text.hpp"

namespace nvfp4::io {
namespace {

class Npy final : public ArrayFile {
 public:
  Npy(const Bytes& bytes, std::string file)
      : ArrayFile(std::move(file)), array_(parse_npy(bytes, {file_, ""}, "")) {}
  std::vector<std::string> names() const override { return {""}; }
  bool contains(std::string_view name) const override { return name.empty(); }
  ArrayInfo info(std::string_view name) const override { return read(name).info; }
  Array read(std::string_view name) const override {
    if (!name.empty()) refuse_name(name);
    return array_;
  }
  std::string_view container() const override { return "npy"; }

 private:
  Array array_;
};

}  // namespace

void ArrayFile::refuse_name(std::string_view name) const {
  const std::vector<std::string> all = names();
  std::string list;
  constexpr std::size_t shown = 8;
  for (std::size_t i = 0; i < std::min(shown, all.size()); ++i) list += (i ? ", " : "") + in_quotes(all[i]);
  if (all.size() > shown) list += ", ...";
  throw FileError(file_, "array " + in_quotes(name),
                  "one of the file's " + std::to_string(all.size()) + " arrays",
                  "none of that name among " + list);
}

std::unique_ptr<ArrayFile> open_arrays(const std::string& path) {
  return open_arrays(read_bytes(path), path == "-" ? "stdin" : path);
}

std::unique_ptr<ArrayFile> open_arrays(Bytes bytes, std::string file) {
  if (bytes.size() == 0)
    throw FileError(file, "byte 0", "a .npy, .npz, .safetensors or .gguf file", "an empty file");
  // A file that announces no container is refused as the one that its name promises.
  if (is_npy(bytes.view()) || file.ends_with(".npy")) return std::make_unique<Npy>(bytes, std::move(file));
  if (is_zip(bytes.view()) || file.ends_with(".npz"))
    return std::make_unique<Npz>(std::move(bytes), std::move(file));
  if (is_gguf(bytes.view()) || file.ends_with(".gguf"))
    return std::make_unique<Gguf>(std::move(bytes), std::move(file));
  return std::make_unique<Safetensors>(std::move(bytes), std::move(file));
}

void write_npy(const std::string& path, const ArrayView& array, Overwrite overwrite) {
  const std::string preamble = npy_preamble(array, path);
  OutputFile out(path, overwrite);
  out.write(preamble);
  out.write(array.bytes);
  out.commit();
}

void write_arrays(const std::string& path, std::span<const ArrayView> arrays, Overwrite overwrite) {
  if (path == "-" || path.ends_with(".npz")) return write_npz(path, arrays, overwrite);
  if (path.ends_with(".safetensors")) return write_safetensors(path, arrays, overwrite);
  throw FileError(path, "name", "an ending .npz or .safetensors", "another");
}

}  // namespace nvfp4::io
