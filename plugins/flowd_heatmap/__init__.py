"""A flowd plugin: the liquidation heatmap. Where open positions would be liquidated, by price and
over time.
"""
