"""`make soak`: an hour of mixed traffic at a share of the capacity; do latency, memory and handles stay flat?"""
