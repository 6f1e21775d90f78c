"""Neural networks as the model servers run them: converted for the CPU, or by torch on whatever there is."""
