"""Captions by models: any number of captioners over any data set, kept, refined, and read back for training.

Source: MVP-LM, section 3.3.
"""
