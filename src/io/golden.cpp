#include <nvfp4/io/golden.hpp>

#include <cstring>
#include <map>

#include <nvfp4/io/error.hpp>
#include <nvfp4/io/matrix.hpp>

#include "text.hpp"

namespace nvfp4::io {

std::vector<GoldenCase> golden_cases(const ArrayFile& file) {
  std::vector<GoldenCase> cases;
  std::map<std::string, std::size_t> index;
  for (const std::string& name : file.names()) {
    const std::size_t slash = name.rfind('/');
    if (slash == std::string::npos || slash == 0) continue;
    const auto [place, is_new] = index.try_emplace(name.substr(0, slash), cases.size());
    if (is_new) cases.push_back({place->first, {}});
    cases[place->second].arrays.push_back(name.substr(slash + 1));
  }
  return cases;
}

Matrix golden_input(const ArrayFile& file, const std::string& name) {
  const std::string inside = name + "/input";
  if (!file.contains(inside) && !file.contains(name))
    throw FileError(file.file(), "case " + in_quotes(name),
                    "array " + in_quotes(inside) + " or " + in_quotes(name), "neither");
  const Array array = file.read(file.contains(inside) ? inside : name);
  const bool bits = array.info.type == ElementType::u16;
  const MatrixView view = as_matrix(array, bits ? std::optional(Dtype::bf16) : std::nullopt);
  Matrix matrix(view.rows, view.cols, view.dtype);
  std::memcpy(matrix.bytes.data(), view.data, matrix.bytes.size());
  return matrix;
}

}  // namespace nvfp4::io
