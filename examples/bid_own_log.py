"""From a log of your own to a bidder: read, train a click model, plan, compare on held-out days, export."""

from dynrl.agents.auctions import RLB, Fluid, Lin
from dynrl.auctions import AuctionRules
from dynrl.auctions.clicks import auc, fit_click_model
from dynrl.auctions.generator import generate_log, write_ipinyou
from dynrl.auctions.metrics import compare, metrics
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.readers import read_log
from dynrl.auctions.replay import replay
from dynrl.auctions.splits import split_days

write_ipinyou(
    "campaign.log.txt", generate_log(80_000, seed=2, days=28)
)  # yours instead; gz, CSV and Parquet work as well
log = read_log("campaign.log.txt")
train, held_out = split_days(log, held_out=7)
print(f"{len(train)} training and {len(held_out)} held-out auctions, {train.click.sum()} training clicks")

clicks = fit_click_model(train)
train, held_out = clicks.apply(train), clicks.apply(held_out)
print(f"click model: AUC {auc(held_out.theta, held_out.click):.3f}")

model = CampaignModel.from_log(train)
rules = AuctionRules(horizon=500, budget=model.campaign.budget(500, ratio=1 / 8))
episodes = held_out.episodes(rules.horizon)
results, bidders = {}, {}
for agent, settings in ((RLB, {"ctr_aware": True}), (Fluid, {}), (Lin, {})):
    name = agent.__name__
    bidders[name] = agent.make_bidder(agent.Config(**settings), model, rules)
    results[name] = replay(bidders[name], episodes, rules)
    m = metrics(results[name])
    print(f"{name}: {m.clicks} clicks, {m.expected_clicks:.1f} predicted, spent {m.spend_ratio:.1%}")
gain = compare(results["RLB"], results["Lin"], "expected_clicks")
low, high = gain.gain_interval
print(f"RLB over Lin: {gain.gain:+.1%} predicted clicks, 95 % interval {low:+.1%} to {high:+.1%}")

folder = bidders["RLB"].serving().export("policy")  # NumPy alone from here on
print("files:", sorted(path.name for path in folder.iterdir()))
