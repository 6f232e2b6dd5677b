// Work is dealt out to whoever is free, and results come in order.
#include "cluster/deal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "base/error.h"
#include "thread_ranks.h"

namespace steelyard::cluster {
namespace {

TEST(Deal, ResultsComeInOrderWhoeverIsFaster) {
  for (const int n : {1, 2, 4}) {
    std::vector<int64_t> items;
    std::string taken;
    std::atomic<int> n_by_others = 0;
    test::in_ranks(n, [&](Ranks& ranks) {
      deal_out(
          ranks, 40,
          [&](int64_t item) {
            std::this_thread::sleep_for(std::chrono::microseconds(item % 3 == 0 ? 900 : 100));
            n_by_others += !ranks.leads();
            return std::to_string(item) + ",";
          },
          [&](int64_t item, const Message& result) {
            EXPECT_TRUE(ranks.leads());
            items.push_back(item);
            taken += result;
          });
    });
    std::string expected;
    for (int64_t i = 0; i < 40; ++i) {
      EXPECT_EQ(items.at(static_cast<size_t>(i)), i);
      expected += std::to_string(i) + ",";
    }
    EXPECT_EQ(taken, expected);
    EXPECT_EQ(n_by_others > 0, n > 1);
  }
}

TEST(Deal, NothingAndFewerItemsThanRanks) {
  for (const int64_t n_items : {0, 1, 2}) {
    int64_t n_taken = 0;
    test::in_ranks(4, [&](Ranks& ranks) {
      deal_out(
          ranks, n_items, [](int64_t) { return Message(); }, [&](int64_t, const Message&) { ++n_taken; });
    });
    EXPECT_EQ(n_taken, n_items);
  }
}

// A rank that is much faster does not fill the leader's memory with what cannot be taken yet.
TEST(Deal, NobodyRunsFarAhead) {
  std::atomic<int64_t> furthest = 0, taken = 0, most = 0;
  test::in_ranks(2, [&](Ranks& ranks) {
    deal_out(
        ranks, 200,
        [&](int64_t item) {
          if (ranks.leads()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
          furthest = std::max<int64_t>(furthest, item);
          most = std::max<int64_t>(most, furthest - taken);
          return Message();
        },
        [&](int64_t item, const Message&) { taken = item + 1; });
  });
  EXPECT_LE(most, 10);
}

TEST(Deal, AFailureEndsItEverywhere) {
  for (const int failing : {0, 1}) {
    for (const bool when_taken : {false, true}) {
      if (when_taken && failing == 1) continue;
      std::atomic<int> n_failed = 0;
      const auto run = [&](Ranks& ranks) {
        try {
          deal_out(
              ranks, 1000,
              [&](int64_t item) {
                if (!when_taken && item > 20 && ranks.rank() == failing) fail("", "the disk is full");
                std::this_thread::sleep_for(std::chrono::microseconds(50));
                return Message();
              },
              [&](int64_t item, const Message&) {
                if (when_taken && item > 20) fail("", "the disk is full");
              });
        } catch (const Error&) {
          ++n_failed;
          throw;
        }
      };
      EXPECT_THROW(test::in_ranks(3, run), Error);
      EXPECT_EQ(n_failed, 3);
    }
  }
}

TEST(Ranks, AgreeOnNumbersAndTexts) {
  std::atomic<int> n_equal = 0;
  test::in_ranks(3, [&](Ranks& ranks) {
    EXPECT_EQ(broadcast(ranks, ranks.leads() ? "leader" : "other"), "leader");
    EXPECT_EQ(broadcast_number(ranks, 7 + ranks.rank()), 7);
    EXPECT_EQ(least(ranks, 7 - ranks.rank()), 5);
    expect_equal(ranks, "same", "model");
    ++n_equal;
  });
  EXPECT_EQ(n_equal, 3);
  try {
    test::in_ranks(2, [&](Ranks& ranks) { expect_equal(ranks, ranks.leads() ? "a" : "b", "model"); });
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("has another model than rank 0"));
  }
}

// More messages than may wait: the sender does, until they are taken.
TEST(Ranks, SendersWaitForThoseWhoTake) {
  std::string taken;
  std::atomic<int> n_sent = 0;
  test::in_ranks(2, [&](Ranks& ranks) {
    for (int i = 0; i < 20; ++i) {
      if (!ranks.leads()) {
        ranks.send(0, Channel::kShare, std::to_string(i));
        ++n_sent;
        continue;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      EXPECT_LE(n_sent, i + kAhead + 1);
      taken += ranks.receive(1, Channel::kShare) + " ";
    }
  });
  EXPECT_EQ(taken, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 ");
}

}  // namespace
}  // namespace steelyard::cluster
