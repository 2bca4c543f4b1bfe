#include <doctest/doctest.h>

#include <set>

#include <nvfp4/dialects/all.hpp>
#include <nvfp4/nvfp4.hpp>
#include <nvfp4/producers.hpp>

#include "tests/program.hpp"

/// verify, explain, dialects, completion, inspect and bench, as scripts call them.
using namespace nvfp4;
using program::Arguments;
using program::has;
using program::operator+;
using program::Quantized;
using program::refusal;
using program::run;
using scratch::slurp;
using scratch::spill;
using Json = nlohmann::json;

TEST_CASE("cli verify: equal and a report" * doctest::test_suite("sweep")) {
  const scratch::Folder folder;
  const auto ran = run({"verify", "--report", folder / "r.html", "--json", "--threads", "2"});
  CHECK(ran.exit_code == 0);
  const Json json = program::json_of(ran);
  REQUIRE(json.is_object());
  CHECK(json.value("cases", 0) > 1000);
  CHECK(json.value("equal", -1) == json.value("cases", 0));
  CHECK(json.value("differing_bytes", -1) == 0);
  CHECK(json.value("refused", -1) == 0);
  CHECK(json.value("not_run", -1) >= 0);
  CHECK(json.value("first", Json(1)).is_null());
  const std::string page = slurp(folder / "r.html");
  for (const Dialect* dialect : all_dialects()) CHECK(has(page, std::string(dialect->name)));
  CHECK(!has(page, "http"));
  CHECK(folder.entries() == 1);
}

TEST_CASE("cli verify: refusals") {
  CHECK(has(refusal({"verify", "--level", "nope"}), "expected quick or full"));
  CHECK(has(refusal({"verify", "--seed", "-1"}), "--seed"));
  CHECK(has(refusal({"verify", "--report", "/nonexistent/r.html"}), "/nonexistent/r.html"));
}

TEST_CASE("cli explain: a tie between 4 and 6 goes to 4") {
  const Json json = program::json({"explain", "5", "-0.25", "--amax", "6", "--tensor-amax", "2688"});
  REQUIRE(json.value("values", Json()).size() == 2);
  CHECK(json["values"][0].value("result", "") == "4");
  CHECK(json["values"][0].value("code", -1) == 6);
  CHECK(json["values"][0].value("scale_code", -1) == 0x38);
  CHECK(json["values"][0].value("error", 0.0) == -1);
  CHECK(json["values"][1].value("code", -1) == 8);
  CHECK(has(run({"explain", "5", "--amax", "6", "--tensor-amax", "2688"}).out, "4 < 5 < 6"));
  CHECK(has(refusal({"explain", "x"}), "'x'"));
  CHECK(has(refusal({"explain", "1", "--amax", "x"}), "--amax"));
  CHECK(has(refusal({"explain", "1", "--dialect", "nope"}), "'nope': expected one of te"));
  CHECK(has(refusal({"explain"}), "VALUE"));
}

TEST_CASE("cli dialects: all of the library's") {
  const Json json = program::json({"dialects"});
  REQUIRE(json.value("dialects", Json()).size() == all_dialects().size());
  for (std::size_t i = 0; i < all_dialects().size(); ++i) {
    CHECK(json["dialects"][i].value("name", "") == all_dialects()[i]->name);
    CHECK(json["dialects"][i].value("source", "") == all_dialects()[i]->source);
  }
  CHECK(json.value("producers", Json()).size() == producers().size());
  CHECK(has(run({"dialects"}).out, "\n  source"));
}

TEST_CASE("cli dialects: a witness for every pair") {
  const Json json = program::json({"dialects", "--witnesses", "5", "--input-dtype", "bf16"});
  const std::size_t n = all_dialects().size();
  REQUIRE(json.value("pairs", Json()).size() == n * (n - 1) / 2);
  CHECK(json.value("without_witness", -1) == 0);
  for (const Json& pair : json["pairs"]) CHECK(pair["witness"].is_string());
  CHECK(has(run({"dialects", "--witnesses", "5"}).out, "te_fast_math            none found in"));
  CHECK(has(refusal({"dialects", "--input-dtype", "bf16"}), "--witnesses"));
}

TEST_CASE("cli completion: every shell knows every command") {
  for (const std::string shell : {"bash", "zsh", "fish"}) {
    const auto ran = run({"completion", shell});
    CHECK(ran.exit_code == 0);
    for (const std::string word : {"verify", "quantize", "dequantize", "golden", "make", "check", "inspect",
                                   "tensor-amax", "mma", "a-format"})
      CHECK(has(ran.out, word));
    CHECK(program::json({"completion", shell}).value("script", "") == ran.out);
  }
  CHECK(has(refusal({"completion", "tcsh"}), "expected bash"));
  CHECK(has(refusal({"completion"}), "SHELL"));
}

TEST_CASE("cli inspect: tensors and plain files") {
  const Quantized q;
  const Json tensor = program::json({"inspect", q.folder / "q.npz"});
  CHECK(tensor.value("dialect", "") == "te");
  CHECK(tensor.value("shape", Json()) == Json{37, 52});
  CHECK(tensor.value("/scales/blocks"_json_pointer, 0) == 37 * 4);
  const Json plain = program::json({"inspect", q.folder / "x.npy"});
  CHECK(plain.value("parameters", 0) == 37 * 52);
  CHECK(plain.value("bits_per_parameter", 0.0) == 32);
  CHECK(has(refusal({"inspect", q.folder / "none.npz"}), "none.npz"));
  spill(q.folder / "cut.npz", slurp(q.folder / "q.npz").substr(0, 700));
  CHECK(has(refusal({"inspect", q.folder / "cut.npz"}), "cut.npz"));
}

TEST_CASE("cli bench: rates beside their limit") {
  const Json json =
      program::json({"bench", "quantize", "--rows", "32", "--cols", "256", "--repetitions", "1"});
  REQUIRE(!json.value("results", Json::array()).empty());
  int limited = 0;
  for (const Json& row : json["results"]) {
    CHECK(row.value("name", "") != "");
    CHECK(row.value("unit", "") != "");
    CHECK(row.value("threads", 0) >= 1);
    CHECK(row.value("rate", 0.0) > 0);
    if (!row.contains("limit")) continue;
    ++limited;
    CHECK(row.value("limit", "") == "amax_read");
    CHECK(row.value("ratio", 0.0) == doctest::Approx(row.value("rate", 0.0) / row.value("limit_rate", 0.0)));
  }
  CHECK(limited > 0);
  const Json dialects = program::json(
      {"bench", "dialects", "--rows", "32", "--cols", "64", "--repetitions", "1", "--threads", "1"});
  CHECK(dialects["results"].size() == 2 * nvfp4::all_dialects().size());
  for (const Json& row : dialects["results"])
    CHECK(row.value("limit", "") == (row["name"].get<std::string>().starts_with("te/") ? "" : "te"));
  const auto training = program::json(
      {"bench", "training", "--rows", "32", "--cols", "64", "--repetitions", "1", "--threads", "1"});
  REQUIRE(training["results"].size() == 7);
  CHECK(training["results"][1]["name"] == "stochastic/fp32");
  CHECK(training["results"][6]["name"] == "transposed_rht/bf16");
  CHECK(training["results"][6]["limit"] == "te_rows");
  CHECK(has(refusal({"bench", "training", "--rows", "24"}), "--rows 24"));
  CHECK(refusal({"bench", "nope"}).starts_with("nvfp4: "));
  CHECK(has(refusal({"bench", "quantize", "--rows", "0"}), "--rows"));
}

TEST_CASE("cli bench gemm: three kinds of scales by each instruction set, beside what SGEMMs there are") {
  const Json json = program::json({"bench", "gemm", "--size", "40", "--repetitions", "1", "--threads", "1"});
  std::set<std::string> names, peers;
  for (const Json& row : json["results"]) {
    const std::string name = row["name"];
    CHECK(row.value("unit", "") == "GMAC/s");
    CHECK(row.value("rate", 0.0) > 0);
    if (name.starts_with("sgemm/")) peers.insert(name.substr(6, name.find('-') - 6));
    if (!name.starts_with("sgemm/")) names.insert(name);
    CHECK(row.contains("ratio") == (!name.starts_with("sgemm/") && !peers.empty()));
  }
  for (const std::string missing : json["not_run"])
    peers.insert(missing.substr(6, missing.find_first_of(":-") - 6));
  CHECK(peers == std::set<std::string>{"eigen", "openblas"});
  std::set<std::string> expected;
  for (const nvfp4::Isa isa : {nvfp4::Isa::amx, nvfp4::Isa::avx512, nvfp4::Isa::avx2, nvfp4::Isa::portable})
    if (nvfp4::cpu_kernels(isa) && (isa != nvfp4::Isa::portable || !nvfp4::cpu_kernels(nvfp4::Isa::avx2)))
      for (const std::string kind : {"narrow", "hot", "wide", "any"})
        expected.insert("gemm/" + kind + "/" + std::string(name(isa)));
  CHECK(names == expected);
  CHECK(json["size"] == 40);
  CHECK(!json.contains("rows"));
  CHECK(has(refusal({"bench", "gemm", "--size", "0"}), "--size"));
}

TEST_CASE("cli explain: stochastic rounding by a byte") {
  const auto code = [](const std::string& byte, const Arguments& more = {}) {
    const auto json = program::json(
        Arguments{"explain", "5", "--amax", "6", "--tensor-amax", "2688", "--random", byte} + more);
    return json["values"][0]["code"].get<int>();
  };
  CHECK(code("0x80") == 7);
  CHECK(code("127") == 6);
  CHECK(code("128", {"--sr-rule", "te_software"}) == 7);
  CHECK(code("127", {"--dialect", "paper"}) == 6);
  for (const std::string wrong : {"256", "-1", "0x1G"})
    CHECK(has(refusal({"explain", "5", "--random", wrong, "--amax", "6"}), "--random"));
  CHECK(has(run({"explain", "-2.25", "--amax", "6", "--tensor-amax", "2688", "--random", "0xC0"}).out,
            "by byte 0xC0, 2 < 2.25 < 3: 64 + 192 carries past 255"));
  CHECK(has(refusal({"explain", "5", "--random", "1", "--dialect", "vllm"}),
            "vllm has no stochastic rounding"));
}
