// Energy meters on a folder and a library made for the test: what they count, and why others are absent.
#include "measure/energy.h"

#include <gtest/gtest.h>

#include "support.h"

namespace steelyard::measure {
namespace {

class Rapl : public testing::Test {
 protected:
  void zone(const std::string& number, const std::string& name, uint64_t now, uint64_t range = 1'000'000'000) const {
    std::filesystem::create_directory(path(number));
    write(number, "name", name);
    write(number, "max_energy_range_uj", std::to_string(range));
    write(number, "energy_uj", std::to_string(now));
  }
  void write(const std::string& number, const std::string& file, const std::string& line) const {
    std::ofstream(path(number) + "/" + file) << line << "\n";
  }
  std::string path(const std::string& number) const { return folder_ / ("intel-rapl:" + number); }
  EnergyMeters meters() const {
    EnergyMeters meters;
    add_rapl(meters, folder_ / "");
    return meters;
  }

  const test::TempFolder folder_;
};

TEST_F(Rapl, CountsPackagesAndMemory) {
  zone("0", "package-0", 5'000'000);
  zone("0:0", "core", 1'000'000);  // within the package
  zone("0:1", "dram", 2'000'000);
  zone("1", "package-1", 0);
  zone("2", "psys", 9'000'000);  // all of it once more
  EnergyMeters meters = this->meters();
  ASSERT_EQ(meters.meters.size(), 3u);
  EXPECT_TRUE(meters.absent.empty());
  EXPECT_EQ(meters.meters[0]->name(), "package-0");
  EXPECT_EQ(meters.meters[1]->name(), "dram 0:1");
  EXPECT_EQ(meters.joules(), 0);
  zone("0", "package-0", 12'500'000);
  zone("0:0", "core", 8'000'000);
  zone("0:1", "dram", 3'000'000);
  zone("1", "package-1", 250'000);
  zone("2", "psys", 19'000'000);
  EXPECT_DOUBLE_EQ(meters.joules(), 7.5 + 1 + 0.25);
  EXPECT_DOUBLE_EQ(meters.joules(), 7.5 + 1 + 0.25);
}

TEST_F(Rapl, CountersWrapAround) {
  zone("0", "package-0", 60'000'000, 65'000'000);
  EnergyMeters meters = this->meters();
  for (const auto& [now, joules] :
       {std::pair{64'000'000, 4.0}, {2'000'000, 7.0}, {10'000'000, 15.0}, {9'000'000, 79.0}}) {
    write("0", "energy_uj", std::to_string(now));
    EXPECT_DOUBLE_EQ(meters.joules(), joules);
  }
}

TEST_F(Rapl, SaysWhatIsAbsent) {
  EnergyMeters none = meters();
  EXPECT_TRUE(none.meters.empty());
  ASSERT_EQ(none.absent.size(), 1u);
  EXPECT_NE(none.absent[0].find("has no zones of RAPL"), std::string::npos);
  EnergyMeters nowhere;
  add_rapl(nowhere, "/nonexistent");
  EXPECT_EQ(nowhere.absent.size(), 1u);

  zone("0", "package-0", 1);
  std::filesystem::remove(path("0") + "/energy_uj");
  zone("1", "package-1", 1);
  write("1", "energy_uj", "many");
  zone("2", "package-2", 1);
  EnergyMeters some = meters();
  EXPECT_EQ(some.meters.size(), 1u);
  ASSERT_EQ(some.absent.size(), 2u);
  EXPECT_TRUE(some.absent[0].starts_with("package-0: ")) << some.absent[0];
  // A counter that vanishes stands still.
  std::filesystem::remove_all(path("2"));
  EXPECT_EQ(some.joules(), 0);
}

TEST(Nvml, CountsDevices) {
  EnergyMeters meters;
  const std::vector<std::string> addresses = {"00000000:01:00.0", "10000000:01:00.0", "20000000:01:00.0"};
  add_nvml(meters, addresses, STEELYARD_FAKE_NVML);
  ASSERT_EQ(meters.meters.size(), 1u);
  EXPECT_EQ(meters.meters[0]->name(), "GPU 00000000:01:00.0");
  EXPECT_DOUBLE_EQ(meters.joules(), 1.5);
  EXPECT_DOUBLE_EQ(meters.joules(), 3.0);
  ASSERT_EQ(meters.absent.size(), 2u);
  EXPECT_EQ(meters.absent[0], "GPU 10000000:01:00.0: it does not count its energy");
  EXPECT_NE(meters.absent[1].find("does not know it"), std::string::npos);
}

TEST(Nvml, SaysWhatIsAbsent) {
  const std::vector<std::string> addresses = {"00000000:01:00.0"};
  EnergyMeters meters;
  add_nvml(meters, addresses, "/nonexistent/libnvidia-ml.so.1");
  add_nvml(meters, addresses, "libc.so.6");
  EXPECT_TRUE(meters.meters.empty());
  ASSERT_EQ(meters.absent.size(), 2u);
  EXPECT_NE(meters.absent[0].find("cannot be loaded"), std::string::npos);
  EXPECT_NE(meters.absent[1].find("lacks functions"), std::string::npos);
}

}  // namespace
}  // namespace steelyard::measure
