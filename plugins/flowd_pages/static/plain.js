/** A page that only has the bar. @module plain */

import { FlowdClient } from './flowd-client.js';
import { connectionBadge, themeButton } from './shell.js';

themeButton();
connectionBadge(new FlowdClient());
