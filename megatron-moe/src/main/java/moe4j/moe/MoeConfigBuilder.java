package moe4j.moe;

import java.util.List;
import moe4j.config.FlagsBuilder;

/**
 * Builds mixture-of-experts layers: a method for each component of {@link MoeConfig}, which says
 * what they are.
 */
public interface MoeConfigBuilder extends FlagsBuilder<MoeConfig> {
  MoeConfigBuilder numExperts(Integer value);

  MoeConfigBuilder moeLayerFreq(String value);

  MoeConfigBuilder moeFfnHiddenSize(Integer value);

  MoeConfigBuilder moeRouterTopk(int value);

  MoeConfigBuilder moeRouterPreSoftmax(boolean value);

  MoeConfigBuilder moeRouterLoadBalancingType(List<String> values);

  MoeConfigBuilder moeRouterLoadBalancingType(String... values);

  MoeConfigBuilder moeAuxLossCoeff(List<Double> values);

  MoeConfigBuilder moeAuxLossCoeff(Double... values);

  MoeConfigBuilder moeZLossCoeff(Double value);

  MoeConfigBuilder moeRouterScoreFunction(String value);

  MoeConfigBuilder moeRouterTopkScalingFactor(Double value);

  MoeConfigBuilder moeRouterNumGroups(Integer value);

  MoeConfigBuilder moeRouterGroupTopk(Integer value);

  MoeConfigBuilder moeRouterEnableExpertBias(boolean value);

  MoeConfigBuilder moeRouterBiasUpdateRate(double value);

  MoeConfigBuilder moeInputJitterEps(Double value);

  MoeConfigBuilder moeRouterForceLoadBalancing(boolean value);

  MoeConfigBuilder moeExpertCapacityFactor(Double value);

  MoeConfigBuilder moePadExpertInputToCapacity(boolean value);

  MoeConfigBuilder moeTokenDropPolicy(String value);

  MoeConfigBuilder moeSharedExpertIntermediateSize(Integer value);

  MoeConfigBuilder moeSharedExpertGate(boolean value);

  MoeConfigBuilder moeSharedExpertOverlap(boolean value);

  MoeConfigBuilder addExpertBias(boolean value);

  MoeConfigBuilder fmoefy(boolean value);

  MoeConfigBuilder topK(Integer value);

  MoeConfigBuilder hiddenHiddenSize(Integer value);

  MoeConfigBuilder balanceStrategy(String value);

  MoeConfigBuilder balanceLossWeight(double value);

  MoeConfigBuilder moeTokenDispatcherType(String value);

  MoeConfigBuilder moeA2aOverlapDegree(int value);

  MoeConfigBuilder moeGroupedProducts(String value);
}
