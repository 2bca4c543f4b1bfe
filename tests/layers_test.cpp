#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace fs = std::filesystem;

namespace {

const fs::path root = NVFP4_SOURCE_DIR;

struct Include {
  bool quoted;
  std::string path;
};

std::vector<Include> includes(const std::string& text) {
  std::vector<Include> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::erase_if(line, [](unsigned char c) { return std::isspace(c); });
    if (!line.starts_with("#include")) continue;
    found.push_back({line[8] == '"', line.substr(9, line.find_first_of(">\"", 9) - 9)});
  }
  return found;
}

bool is_standard(const Include& i) { return !i.quoted && i.path.find_first_of("./") == std::string::npos; }
bool is_ours(const Include& i) { return !i.quoted && i.path.starts_with("nvfp4/"); }

bool is_inside(const fs::path& path, const fs::path& folder) {
  const fs::path relative = path.lexically_normal().lexically_relative(folder.lexically_normal());
  return !relative.empty() && *relative.begin() != "..";
}

/// A quoted include stays in its layer: beside the including file or from the layer's root.
bool stays_in(const fs::path& layer, const fs::path& file, const Include& i) {
  return i.quoted && (is_inside(file.parent_path() / i.path, layer) || is_inside(layer / i.path, layer));
}

bool allowed(const fs::path& file, const Include& i) {
  if (is_ours(i) || is_standard(i)) return true;
  if (is_inside(file, root / "include")) return false;  // no Eigen, Boost, OpenMP, CUDA or SIMD
  if (is_inside(file, root / "reference"))
    return i.path.starts_with("boost/") || stays_in(root / "reference", file, i);
  if (i.quoted) return stays_in(root / "src", file, i);
  return !i.path.starts_with("boost/") && !i.path.starts_with("reference/");
}

std::vector<std::string> offences(const fs::path& file, const std::string& text) {
  std::vector<std::string> found;
  for (const Include& i : includes(text))
    if (!allowed(file, i)) found.push_back(i.path);
  return found;
}

std::string read(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

/// The folders of this project that a layer's compile command searches for includes.
std::vector<fs::path> searched(const std::string& command) {
  std::vector<fs::path> folders;
  std::istringstream words(command);
  for (std::string word; words >> word;)
    if (word.starts_with("-I") && is_inside(word.substr(2), root)) folders.push_back(word.substr(2));
  return folders;
}

std::vector<std::string> libraries(const std::string& target) {
  std::vector<std::string> names;
  const auto links = nlohmann::json::parse(read(NVFP4_BUILD_DIR "/links.json"));
  std::istringstream list(links.at(target).get<std::string>());
  for (std::string name; std::getline(list, name, ';');) names.push_back(name);
  return names;
}

}  // namespace

TEST_CASE("layers: every include keeps to its layer") {
  for (const char* layer : {"include", "reference", "src"})
    for (const auto& entry : fs::recursive_directory_iterator(root / layer)) {
      if (!entry.path().extension().string().ends_with("pp")) continue;
      CAPTURE(entry.path());
      CHECK(offences(entry.path(), read(entry.path())) == std::vector<std::string>{});
    }
}

TEST_CASE("layers: an include across layers is noticed") {
  const auto count = [](const char* file, const char* line) { return offences(root / file, line).size(); };
  for (const char* foreign :
       {"<Eigen/Core>", "<boost/rational.hpp>", "<omp.h>", "<cuda_fp4.h>", "<immintrin.h>"})
    CHECK(count("include/nvfp4/x.hpp", ("#include " + std::string(foreign)).c_str()) == 1);
  CHECK(count("reference/x.cpp", "#include \"../src/tensor.cpp\"") == 1);
  CHECK(count("reference/x.cpp", "  #  include <src/formats.hpp>") == 1);
  CHECK(count("src/x.cpp", "#include \"../reference/number.hpp\"") == 1);
  CHECK(count("src/io/x.cpp", "int x;\n#include <reference/number.hpp>") == 1);
  CHECK(count("src/x.cpp", "#include <boost/rational.hpp>") == 1);
  CHECK(count("src/x.cpp", "#include <nvfp4/tensor.hpp>\n#include <vector>\n#include <omp.h>") == 0);
}

TEST_CASE("layers: no layer's compiler searches the other's folder") {
  for (const auto& entry : nlohmann::json::parse(read(NVFP4_BUILD_DIR "/compile_commands.json"))) {
    const fs::path file = entry["file"].get<std::string>();
    for (const fs::path& folder : searched(entry["command"])) {
      CAPTURE(file);
      CAPTURE(folder);
      if (is_inside(file, root / "reference"))
        CHECK((folder == root / "include" || folder == root / "reference"));
      if (is_inside(file, root / "src"))
        CHECK((folder == root / "include" || is_inside(folder, root / "src")));
    }
  }
}

TEST_CASE("layers: neither layer links the other") {
  const auto names = [](const std::string& target, std::string_view word) {
    return std::ranges::count_if(libraries(target),
                                 [&](const std::string& l) { return l.find(word) != l.npos; });
  };
  for (const char* target : {"nvfp4_cpu", "nvfp4_reference"}) REQUIRE(names(target, "nvfp4_headers") > 0);
  CHECK(names("nvfp4_reference", "nvfp4") == names("nvfp4_reference", "nvfp4_headers"));
  CHECK(names("nvfp4_cpu", "nvfp4") == names("nvfp4_cpu", "nvfp4_headers"));
  CHECK(names("nvfp4_cpu", "Boost") == 0);
}

/// nvcc 13.0 makes constants of libstdc++'s 64-bit bit functions in device code: bit_width of anything is 0 there.
TEST_CASE("layers: device code asks no bit function of libstdc++") {
  for (const auto& file : std::filesystem::directory_iterator(NVFP4_SOURCE_DIR "/gpu")) {
    if (file.path().extension() != ".cuh") continue;
    std::ifstream in(file.path());
    const std::string text(std::istreambuf_iterator<char>(in), {});
    CAPTURE(file.path().filename().string());
    for (const char* name : {"std::bit_width(", "std::countl_zero(", "std::countr_zero(", "std::popcount(",
                             "std::has_single_bit("})
      CHECK(text.find(name) == std::string::npos);
  }
}
