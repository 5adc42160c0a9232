// Snowplow as a site would bundle it: the tracker and the three plugins that capture links, buttons and forms.
import { newTracker, trackPageView } from "@snowplow/browser-tracker";
import { ButtonClickTrackingPlugin, enableButtonClickTracking } from "@snowplow/browser-plugin-button-click-tracking";
import { FormTrackingPlugin, enableFormTracking } from "@snowplow/browser-plugin-form-tracking";
import { LinkClickTrackingPlugin, enableLinkClickTracking } from "@snowplow/browser-plugin-link-click-tracking";

newTracker("sp", window.benchOrigin + "/sink", {
  appId: "bench",
  plugins: [LinkClickTrackingPlugin(), ButtonClickTrackingPlugin(), FormTrackingPlugin()],
});
trackPageView();
enableLinkClickTracking();
enableButtonClickTracking();
enableFormTracking();
