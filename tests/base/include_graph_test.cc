// The include graph: a folder of src/ includes itself and what its library links, directly or through other libraries.
// The graph is read from CMakeLists.txt, so that it is written down once; docs/architecture.md explains it.
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "support.h"

namespace steelyard {
namespace {

namespace fs = std::filesystem;

/// Folder of src/ → folders it may include.
using Graph = std::map<std::string, std::set<std::string>>;

/// The links in the lines "steelyard_library(<folder> [<link>...])" of a CMakeLists.txt. Links that are not folders of
/// ours are left out.
Graph read_links(const std::string& cmake) {
  constexpr std::string_view kCall = "\nsteelyard_library(";
  constexpr std::string_view kOurs = "steelyard_";
  const std::string text = "\n" + cmake;
  Graph links;
  for (size_t at = text.find(kCall); at != std::string::npos; at = text.find(kCall, at + 1)) {
    const size_t begin = at + kCall.size();
    std::istringstream words(text.substr(begin, text.find(')', begin) - begin));
    std::string folder;
    words >> folder;
    std::set<std::string>& linked = links[folder];
    for (std::string link; words >> link;) {
      if (link.starts_with(kOurs)) linked.insert(link.substr(kOurs.size()));
    }
  }
  return links;
}

/// Everything a folder reaches through its links and theirs; itself only when there is a cycle.
Graph closure(const Graph& links) {
  Graph reached = links;
  for (bool grew = true; grew;) {
    grew = false;
    for (auto& [folder, folders] : reached) {
      std::set<std::string> more = folders;
      for (const std::string& other : folders) {
        const auto found = reached.find(other);
        if (found != reached.end()) more.insert(found->second.begin(), found->second.end());
      }
      grew |= more.size() > folders.size();
      folders = std::move(more);
    }
  }
  return reached;
}

/// The paths of the lines #include "path".
std::vector<std::string> quoted_includes(const std::string& source) {
  std::vector<std::string> paths;
  std::istringstream lines(source);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string directive, path;
    words >> directive >> path;
    if (directive == "#include" && path.size() > 2 && path.front() == '"' && path.back() == '"') {
      paths.push_back(path.substr(1, path.size() - 2));
    }
  }
  return paths;
}

/// Those includes of a source in `folder` that the graph does not allow. Every path begins with its folder.
std::vector<std::string> forbidden(const std::string& source, const std::string& folder, const Graph& graph) {
  std::vector<std::string> paths;
  for (const std::string& path : quoted_includes(source)) {
    const std::string from = path.substr(0, path.find('/'));
    const bool named = from != path && graph.contains(from);
    if (!named || (from != folder && !graph.at(folder).contains(from))) paths.push_back(path);
  }
  return paths;
}

fs::path source_folder() { return fs::path(STEELYARD_SOURCE_DIR) / "src"; }

Graph project_links() { return read_links(test::read_text(STEELYARD_SOURCE_DIR "/CMakeLists.txt")); }

TEST(IncludeGraph, EveryFolderIsALibrary) {
  std::set<std::string> folders, libraries;
  for (const auto& entry : fs::directory_iterator(source_folder())) folders.insert(entry.path().filename().string());
  for (const auto& [folder, links] : project_links()) {
    libraries.insert(folder);
    for (const std::string& link : links) EXPECT_TRUE(folders.contains(link)) << folder << " links " << link;
  }
  EXPECT_EQ(folders, libraries);
}

TEST(IncludeGraph, HasNoCycle) {
  for (const auto& [folder, reached] : closure(project_links())) EXPECT_FALSE(reached.contains(folder)) << folder;
}

// Only folders above both may combine calibration and quantization. The two must not depend on each other.
TEST(IncludeGraph, ModelAndQuantizeDoNotKnowEachOther) {
  const Graph graph = closure(project_links());
  EXPECT_FALSE(graph.at("model").contains("quantize"));
  EXPECT_FALSE(graph.at("quantize").contains("model"));
}

// JSON's text is read and written in one place.
TEST(IncludeGraph, JsonAndTheCommandLineStayAbove) {
  size_t n_json = 0;
  for (const auto& entry : fs::recursive_directory_iterator(source_folder())) {
    if (!entry.is_regular_file()) continue;
    const std::string path = fs::relative(entry.path(), source_folder()).string();
    const std::string source = test::read_text(entry.path().string());
    const bool has_json = source.find("#include <nlohmann/") != std::string::npos;
    EXPECT_TRUE(!has_json || path.starts_with("json/")) << path;
    EXPECT_EQ(source.find("#include <CLI/"), std::string::npos) << path;
    n_json += has_json;
  }
  EXPECT_GT(n_json, 0u);
  for (const auto& [folder, reached] : closure(project_links())) EXPECT_FALSE(reached.contains("jobs")) << folder;
}

TEST(IncludeGraph, FoldersIncludeOnlyWhatTheyLink) {
  const Graph graph = closure(project_links());
  size_t n_includes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(source_folder())) {
    if (!entry.is_regular_file()) continue;
    const std::string path = fs::relative(entry.path(), source_folder()).string();
    const std::string source = test::read_text(entry.path().string());
    const std::string folder = path.substr(0, path.find('/'));
    ASSERT_TRUE(graph.contains(folder)) << path;
    for (const std::string& include : forbidden(source, folder, graph)) {
      ADD_FAILURE() << "src/" << path << " includes \"" << include << "\"";
    }
    n_includes += quoted_includes(source).size();
  }
  EXPECT_GT(n_includes, 100u) << "sources are not where they are looked for";
}

// ---- the checks themselves

TEST(IncludeGraph, LinksAreRead) {
  const Graph links = read_links(
      "function(steelyard_library folder)\n"
      "endfunction()\n"
      "steelyard_library(base fmt::fmt)\n"
      "# steelyard_library(comment steelyard_base)\n"
      "steelyard_library(top steelyard_middle\n"
      "  steelyard_base)\n"
      "steelyard_library(middle steelyard_base re2::re2)\n");
  EXPECT_EQ(links, (Graph{{"base", {}}, {"middle", {"base"}}, {"top", {"base", "middle"}}}));
}

TEST(IncludeGraph, ClosureFollowsLinksToTheirEnd) {
  const Graph chain = {{"a", {"b"}}, {"b", {"c"}}, {"c", {"d"}}, {"d", {}}};
  EXPECT_EQ(closure(chain).at("a"), (std::set<std::string>{"b", "c", "d"}));
  EXPECT_TRUE(closure({{"a", {"b"}}, {"b", {"a"}}}).at("a").contains("a"));
}

TEST(IncludeGraph, ForeignIncludesAreFound) {
  const Graph graph = {{"base", {}}, {"middle", {"base"}}, {"top", {"base", "middle"}}};
  const std::string source =
      "#include <vector>\n"
      "#include \"base/error.h\"\n"
      "  #include \"middle/own.h\"  // why\n"
      "#include \"top/above.h\"\n"
      "#include \"nowhere/x.h\"\n"
      "#include \"own.h\"\n";
  EXPECT_EQ(forbidden(source, "middle", graph), (std::vector<std::string>{"top/above.h", "nowhere/x.h", "own.h"}));
}

}  // namespace
}  // namespace steelyard
