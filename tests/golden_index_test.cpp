#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include <nlohmann/json.hpp>
#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

/// tests/golden/index.json, which says what the published files are, against the files.
namespace {

const std::filesystem::path folder = NVFP4_GOLDEN_DIR;

const nlohmann::json& index() {
  static const auto json = nlohmann::json::parse(scratch::slurp((folder / "index.json").string()));
  return json;
}

/// A published folder, unlike tests/golden/files, has somebody's results or their inputs.
bool is_published(const std::string& name) {
  return name != "files" && !name.ends_with(".md") && !name.ends_with(".json");
}

std::set<std::string> published_files() {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::filesystem::path path = std::filesystem::relative(entry.path(), folder);
    if (entry.is_regular_file() && is_published(path.begin()->string())) files.insert(path.generic_string());
  }
  return files;
}

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += name + ' ';
  return text;
}

}  // namespace

TEST_CASE("golden index: every file listed has its sha256") {
  for (const auto& entry : index().at("files").items()) {
    const std::string& file = entry.key();
    const auto& facts = entry.value();
    CAPTURE(file);
    const std::string path = (folder / file).string();
    REQUIRE(std::filesystem::is_regular_file(path));
    const nvfp4::io::Bytes bytes = nvfp4::io::read_bytes(path);
    CHECK(nvfp4::io::sha256(bytes.view()) == facts.at("sha256"));
    CHECK(bytes.size() == facts.at("bytes"));
  }
}

TEST_CASE("golden index: every published file is listed") {
  std::set<std::string> listed;
  for (const auto& [file, facts] : index().at("files").items()) listed.insert(file);
  CHECK(joined(listed) == joined(published_files()));
}

TEST_CASE("golden index: every folder of results has its producer and no other is named") {
  std::set<std::string> folders, producers;
  for (const std::string& file : published_files())
    if (file.find("/fp32.npz") != file.npos) folders.insert(file.substr(0, file.find('/')));
  for (const auto& [name, facts] : index().at("producers").items()) {
    producers.insert(name);
    for (const char* field : {"producer", "version", "licence", "path", "global_is"})
      CHECK(!facts.at(field).get<std::string>().empty());
  }
  CHECK(joined(producers) == joined(folders));
  CHECK(index().at("version") == 1);
}

TEST_CASE("golden index: results of instructions name their producer and carry its licence") {
  const auto& instructions = index().at("instructions");
  CHECK(instructions.size() == 3);
  for (const auto& entry : instructions.items()) {
    const auto& facts = entry.value();
    CAPTURE(entry.key());
    for (const char* field : {"what", "producer", "licence"})
      CHECK(!facts.at(field).get<std::string>().empty());
    const bool foreign = facts.at("licence") != "this repository's";
    CHECK(foreign == facts.contains("licence_file"));
    if (foreign) CHECK(index().at("files").contains(facts.at("licence_file").get<std::string>()));
  }
}
